"""Kafka as clients meet it: order by key, headers, groups, and topics that are not there."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import InvalidPartitionsError

from chaosd.kernel.errors import StackError
from chaosd.process import patience
from chaosd.target import ready
from chaosd.testbed import topics
from chaosd.testbed.record import Topic

PARTITIONS = 3


@pytest.fixture
async def topic(stack) -> AsyncIterator[str]:
    name = f"kafka-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=str(stack.endpoints.direct.kafka))
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
        assert answer.topic_errors[0][1] == 0
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


def producer(stack, **options: object) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=str(stack.endpoints.proxied.kafka), acks="all", enable_idempotence=True, **options
    )


def consumer(stack, *topics: str, **options: object) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=str(stack.endpoints.proxied.kafka),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        retry_backoff_ms=20,
        **options,
    )


async def read(source: AIOKafkaConsumer, count: int, within_s: float = 10.0) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = []
    deadline = time.monotonic() + within_s
    while len(found) < count:
        assert time.monotonic() < deadline, f"waited {within_s} s for {count} records, have {len(found)}"
        for batch in (await source.getmany(timeout_ms=100)).values():
            found.extend(batch)
    return found


async def test_of_topics_that_are_there_the_compacted_ones_are_known(stack):
    """What a broker compacts away has not vanished by the pipeline's fault: verifiers/no_loss.py asks for it."""
    name = f"kafka-{secrets.token_hex(4)}"
    address = str(stack.endpoints.direct.kafka)
    kept, cleaned, both = (Topic(f"{name}-{what}", "output", 1) for what in ("kept", "cleaned", "both"))
    async with topics.admin(address) as admin:
        policies = {cleaned.name: "compact", both.name: "compact,delete"}
        await admin.create_topics(
            [NewTopic(one, 1, 1, topic_configs={"cleanup.policy": policy}) for one, policy in policies.items()]
        )
        await topics.create(address, [kept])
        try:
            names = [one.name for one in (kept, cleaned, both)]
            assert await topics.compacted(address, names) == {cleaned.name, both.name}
            assert await topics.compacted(address, []) == set()
            # What the broker does not tell of may be compacted.
            assert await topics.compacted(address, [f"{name}-absent"]) == {f"{name}-absent"}
        finally:
            await admin.delete_topics(names)


async def test_records_of_a_key_stay_in_one_partition_and_in_order(stack, topic):
    async with producer(stack) as sender:
        pending = [await sender.send(topic, str(n).encode(), key=f"key-{n % 7}".encode()) for n in range(210)]
        for delivery in pending:
            await delivery
    async with consumer(stack, topic, group_id=f"order-{topic}") as source:
        records = await read(source, 210)
    by_key: dict[bytes, list[ConsumerRecord]] = {}
    for record in records:
        by_key.setdefault(record.key, []).append(record)
    assert len(by_key) == 7
    for number, key in enumerate(sorted(by_key)):
        assert len({record.partition for record in by_key[key]}) == 1
        assert [int(record.value) for record in by_key[key]] == list(range(number, 210, 7))


async def test_key_value_headers_and_timestamp_come_back_as_bytes_they_were(stack, topic):
    headers = [("chaosd-id", b"0190"), ("empty", b""), ("not-utf8", b"\xff\x00"), ("chaosd-id", b"twice")]
    async with producer(stack) as sender:
        sent = await sender.send_and_wait(
            topic, b"\x00value\xff", key=b"key", headers=headers, timestamp_ms=1_700_000_000_123
        )
    async with consumer(stack, topic, group_id=f"headers-{topic}") as source:
        [record] = await read(source, 1)
    assert (record.key, record.value, record.timestamp) == (b"key", b"\x00value\xff", 1_700_000_000_123)
    assert list(record.headers) == headers
    assert (record.partition, record.offset) == (sent.partition, sent.offset)


async def test_a_group_continues_where_it_committed(stack, topic):
    async with producer(stack) as sender:
        for number in range(10):
            await sender.send_and_wait(topic, str(number).encode(), partition=0)
    group = f"committed-{topic}"
    async with consumer(stack, topic, group_id=group) as source:
        await read(source, 10)
        await source.commit({TopicPartition(topic, 0): 4})
    async with consumer(stack, topic, group_id=group) as source:
        records = await read(source, 6)
    assert [record.value for record in records] == [b"4", b"5", b"6", b"7", b"8", b"9"]


async def test_a_group_without_a_commit_is_given_everything_again(stack, topic):
    async with producer(stack) as sender:
        await sender.send_and_wait(topic, b"only", partition=1)
    for _ in range(2):
        async with consumer(stack, topic, group_id=f"uncommitted-{topic}") as source:
            assert [record.value for record in await read(source, 1)] == [b"only"]


async def test_two_members_of_a_group_share_its_partitions(stack, topic):
    group = f"shared-{topic}"
    async with consumer(stack, topic, group_id=group, heartbeat_interval_ms=100) as first:
        assert len(first.assignment()) == PARTITIONS
        async with consumer(stack, topic, group_id=group, heartbeat_interval_ms=100) as second:
            deadline = time.monotonic() + 10
            while len(first.assignment()) + len(second.assignment()) != PARTITIONS or not second.assignment():
                assert time.monotonic() < deadline, "waited for the group to share its partitions"
                await asyncio.sleep(0.05)
            assert first.assignment().isdisjoint(second.assignment())


async def test_a_group_whose_topic_is_not_there_yet_reads_nothing_and_is_not_ready(stack, monkeypatch):
    monkeypatch.setattr(ready, "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(patience, "scale", lambda: 1)
    name, direct = f"late-{secrets.token_hex(4)}", str(stack.endpoints.direct.kafka)
    early = consumer(stack, group_id=name, metadata_max_age_ms=1_000)
    await early.start()
    try:
        early.subscribe(pattern=name)  # by its name aiokafka would wait for the topic; other clients do not
        async with asyncio.timeout(20), ready._Groups(direct) as groups:
            while not (await groups.state(name)).given_nothing:
                await asyncio.sleep(0.05)
        with pytest.raises(StackError, match=f"the members of consumer group '{name}' have no partition to read"):
            await ready.groups_stable((name,), direct)
        await topics.create(direct, [Topic(name, "input", PARTITIONS)])
        monkeypatch.undo()
        await ready.groups_stable((name,), direct)
        async with asyncio.timeout(5):
            while len(early.assignment()) < PARTITIONS:
                await asyncio.sleep(0.01)
    finally:
        await early.stop()
        await topics.delete(direct, [name])


async def test_creating_a_topic_that_is_there_is_an_answer_not_an_error(stack, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=str(stack.endpoints.direct.kafka))
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        assert answer.topic_errors[0][1] == 36
    finally:
        await admin.close()


async def test_partitions_are_added_and_never_taken_away(stack, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=str(stack.endpoints.direct.kafka))
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(PARTITIONS + 2)})
        numbers: list[int] = []
        async with asyncio.timeout(10):  # the broker answers when the controller knows, and knows itself a moment later
            while len(numbers) < PARTITIONS + 2:
                [told] = await admin.describe_topics([topic])
                numbers = sorted(one["partition"] for one in told["partitions"])
        assert numbers == list(range(PARTITIONS + 2))
        with pytest.raises(InvalidPartitionsError):
            await admin.create_partitions({topic: NewPartitions(1)})
    finally:
        await admin.close()
    async with producer(stack) as sender:
        sent = await sender.send_and_wait(topic, b"last", partition=PARTITIONS + 1)
    async with consumer(stack, topic, group_id=f"more-{topic}") as source:
        [record] = await read(source, 1)
    assert (record.partition, record.offset, record.value) == (PARTITIONS + 1, sent.offset, b"last")


async def test_a_record_without_a_key_has_no_promised_partition_and_one_with_a_null_value_is_kept(stack, topic):
    async with producer(stack) as sender:
        for number in range(6):
            await sender.send_and_wait(topic, str(number).encode())
        await sender.send_and_wait(topic, None, key=b"tombstone")
    async with consumer(stack, topic, group_id=f"keyless-{topic}") as source:
        records = await read(source, 7)
    assert sorted(record.value for record in records if record.key is None) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [record.value for record in records if record.key == b"tombstone"] == [None]
