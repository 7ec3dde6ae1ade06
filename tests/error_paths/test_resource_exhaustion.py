"""What happens when a part has no more of something: whoever asks is told what is short, and all goes on afterwards."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator

import asyncpg
import psutil
import pytest
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError
from pipeline_bench import PipelineBench, running, tick

from chaosd.process import spawn

MIB = 1024 * 1024


@pytest.fixture(scope="module")
async def bench(stack, tmp_path_factory) -> AsyncIterator[PipelineBench]:
    async with running(stack, tmp_path_factory.mktemp("exhaustion")) as bench:
        warm = [tick(f"WARM-{number}") for number in range(20)]
        await bench.send(warm)
        await bench.answered(warm)
        yield bench


async def taken(dsn: str) -> list[asyncpg.Connection]:
    """Every PostgreSQL connection that an ordinary role can have."""
    held: list[asyncpg.Connection] = []
    for _ in range(200):
        try:
            held.append(await asyncpg.connect(dsn, timeout=5))
        except asyncpg.TooManyConnectionsError:
            return held
    raise AssertionError("200 connections, and PostgreSQL gives still more")


async def test_one_connection_too_many_is_refused_with_the_reason_and_the_next_one_works(stack, bench):
    dsn = stack.endpoints.proxied.postgres.dsn
    held = await taken(dsn)
    try:
        assert held
        with pytest.raises(asyncpg.TooManyConnectionsError) as refused:
            await asyncpg.connect(dsn, timeout=5)
        assert refused.value.sqlstate == "53300"
        assert "connection" in str(refused.value)
        # Those that have one are not harmed, and chaosd's own way in stays open.
        assert await held[0].fetchval("SELECT 1") == 1
        own = await asyncpg.connect(stack.endpoints.direct.postgres.dsn, timeout=5)
        assert await own.fetchval("SELECT current_setting('is_superuser')") == "on"
        await own.close()
    finally:
        for connection in held:
            await connection.close()
    again = await asyncpg.connect(dsn, timeout=5)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()


async def test_a_pipeline_without_a_database_connection_waits_and_loses_nothing(stack, bench):
    """Its own connection is cut while others hold all that there are."""
    given = [tick(f"FULL-{number % 5}") for number in range(100)]
    own = await asyncpg.connect(stack.endpoints.direct.postgres.dsn, timeout=5)
    held = await taken(stack.endpoints.proxied.postgres.dsn)
    try:
        others = [connection.get_server_pid() for connection in (own, *held)]
        cut = await own.fetchval(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"  # waits until its place is free
            " WHERE datname = 'pipeline' AND backend_type = 'client backend' AND NOT pid = ANY($1::int[])",
            others,
        )
        assert cut >= 1
        held += await taken(stack.endpoints.proxied.postgres.dsn)
        await bench.send(given)
        await bench.collect(lambda: "TooManyConnections" in bench.log(), 10, "the pipeline's word about it")
        assert not any(one.id in bench.outputs for one in given)
    finally:
        for connection in (own, *held):
            await connection.close()
    await bench.answered(given)
    assert bench.letters == []


async def test_a_redis_without_memory_refuses_writes_by_name_and_takes_them_again(stack, bench):
    place = stack.endpoints.proxied.redis
    key = f"test:{secrets.token_hex(4)}"
    given = [tick(f"OOM-{number % 5}") for number in range(100)]
    async with redis.Redis(host=place.host, port=place.port) as client:
        before = await client.config_get("maxmemory*")
        await client.set(f"{key}:old", b"value", ex=60)
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", 1)
        try:
            with pytest.raises(redis.OutOfMemoryError):
                await client.set(key, b"x" * 100)
            assert await client.get(f"{key}:old") == b"value"
            assert await client.exists(key) == 0
            # The pipeline cannot mark what it finished: it must neither forget nor bury it.
            await bench.send(given)
            await bench.collect(lambda: "OutOfMemory" in bench.log(), 10, "the pipeline's word about it")
        finally:
            for name in ("maxmemory", "maxmemory-policy"):
                await client.config_set(name, before[name])
        await client.set(key, b"x", ex=60)
        assert await client.get(key) == b"x"
    await bench.answered(given)
    assert bench.letters == []
    assert all(len(bench.outputs[one.id]) == 1 for one in given)


async def test_a_queue_that_overflows_while_the_pipeline_stands_still_is_worked_off_in_order(bench):
    """Its work piles up in Kafka while it is paused: nothing is lost, nothing overtakes, and it becomes quick again."""
    assert bench.handle is not None
    given = [tick(f"FLOOD-{number % 4}") for number in range(3000)]
    spawn.send_signal(bench.handle, signal.SIGSTOP)
    try:
        await bench.send(given)
        with pytest.raises(AssertionError, match="outputs"):
            await bench.answered(given, within_s=0.3)
    finally:
        spawn.send_signal(bench.handle, signal.SIGCONT)
    took_s = await bench.answered(given, within_s=60)
    assert all(len(bench.outputs[one.id]) == 1 for one in given)
    for lane in range(4):
        mine = [bench.outputs[one.id][0] for one in given[lane::4]]
        assert [one.offset for one in mine] == sorted(one.offset for one in mine)
    assert bench.letters == []
    alone = [tick("ALONE")]
    await bench.send(alone)
    print(f"3000 records of backlog in {took_s:.2f} s; one alone afterwards in {await bench.answered(alone):.3f} s")


async def test_the_pipelines_memory_does_not_grow_with_what_it_has_processed(bench):
    """Warm first: what a process keeps for good is there by then. A leak of 1 KB an event would show."""
    assert bench.handle is not None
    process = psutil.Process(bench.handle.pid)

    async def work(rounds: int) -> int:
        for _ in range(rounds):
            given = [tick(f"LEAK-{number % 8}") for number in range(500)]
            await bench.send(given)
            await bench.answered(given, within_s=30)
        return process.memory_info().rss

    warm = await work(6)
    later = await work(12)
    print(f"resident memory {warm / MIB:.1f} MiB, after 6,000 events more {later / MIB:.1f} MiB")
    assert later - warm < 5 * MIB
    assert process.num_fds() < 100


async def test_a_producer_whose_buffer_is_full_waits_and_does_not_drop(stack, wide_topic):
    """The broker is away and the buffer small: sends wait for room, and every one that was taken arrives, in order."""
    bootstrap = str(stack.endpoints.proxied.kafka)
    taken: list[int] = []
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        max_batch_size=2_000,
        request_timeout_ms=40_000,
        retry_backoff_ms=20,
    ) as producer:
        await producer.send_and_wait(wide_topic, b"0" * 1000, partition=0)

        async def flood() -> None:
            for number in range(1, 40):
                await producer.send(wide_topic, str(number).encode().ljust(1000), partition=0)
                taken.append(number)

        await stack.toxiproxy.set_enabled("kafka-1", enabled=False)
        try:
            flooding = asyncio.create_task(flood())
            await asyncio.sleep(0.5)
            assert not flooding.done()
            assert len(taken) < 39
        finally:
            await stack.toxiproxy.set_enabled("kafka-1", enabled=True)
        async with asyncio.timeout(40):
            await flooding
            await producer.flush()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=50)
    async with asyncio.timeout(20), consumer:
        consumer.assign([TopicPartition(wide_topic, 0)])
        await consumer.seek_to_beginning()
        found = [int((await consumer.getone()).value.strip()[:5]) for _ in range(40)]
    assert found == list(range(40))


@pytest.fixture
async def wide_topic(stack) -> AsyncIterator[str]:
    async for name in _topic(stack, {}):
        yield name


@pytest.fixture
async def topic(stack) -> AsyncIterator[str]:
    """A topic that takes at most 64 KiB at a time."""
    async for name in _topic(stack, {"max.message.bytes": "65536"}):
        yield name


async def _topic(stack, configs: dict[str, str]) -> AsyncIterator[str]:
    name = f"exhaustion-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=str(stack.endpoints.direct.kafka))
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
        assert answer.topic_errors[0][1] == 0
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


@pytest.mark.parametrize("limit_bytes", [MIB, 16 * MIB], ids=["by the client", "by the broker"])
async def test_a_message_that_is_too_large_is_refused_and_the_next_one_goes(stack, topic, limit_bytes):
    bootstrap = str(stack.endpoints.proxied.kafka)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=limit_bytes) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, b"x" * (2 * MIB))
        sent = await producer.send_and_wait(topic, b"small")
    assert sent.offset == 0
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        assert await consumer.end_offsets([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): 1}
    finally:
        await consumer.stop()
