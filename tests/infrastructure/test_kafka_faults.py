"""Kafka's own faults on a real broker with the reference pipeline: they bite, they heal, and from the lease alone."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from cluster_bench import cluster, metered
from waits import until

from chaosd.faults import kafka_gauges, servers
from chaosd.faults.table import FAULTS
from chaosd.journal.columns import CANARIES, EXPOSURE, GAUGES, RESOURCES
from chaosd.journal.model import InjectionFacts, RunFacts
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import StackError
from chaosd.process import spawn
from chaosd.stack.parts.kafka import admin
from chaosd.testbed.testbed import PARTS, PROCESSES, Testbed
from chaosd.verification.exposure import Evidence, judge_fault

CLOCK = SystemClock()
RECORDS = 60
WORDS = {
    "max_message_bytes": {"limit": "300B"},
    "quota": {"rate": "20KB/s"},
    "rebalance": {"every": "300ms", "members": 2},
    "topic_deleted": {"topic": "output"},
}


def chosen(name: str):
    fault = FAULTS[name]
    return fault, fault.params.model_validate(WORDS[name]), f"test-{name}"


@pytest.fixture(scope="module")
async def bed(tmp_path_factory):
    async with cluster(tmp_path_factory.mktemp("kafka"), brokers=1, replicas=1) as made:
        producer = AIOKafkaProducer(bootstrap_servers=made.stack.endpoints.direct.bootstrap)
        await producer.start()
        # What a consumer's quota is tried on. The pipeline takes these for poison.
        for _ in range(RECORDS):
            await producer.send(made.record.topics[0].name, bytes(1_000), partition=0)
        await producer.stop()
        yield made


@pytest.fixture
def broker(bed):
    return bed.stack.endpoints.direct.kafka


@pytest.mark.parametrize("name", WORDS)
async def test_it_bites_and_heals_as_the_judge_sees_it(bed, name):
    fault, params, tag = chosen(name)
    async with metered(bed, fault.gauges("kafka", params)) as meter:
        started_ns = CLOCK.now_ns()
        await meter.more()
        memo = await fault.prepare(bed, "kafka", params)
        call_ns = CLOCK.now_ns()
        await fault.inject(bed, "kafka", params, memo, tag)
        returned_ns = CLOCK.now_ns()
        for title in meter.meters.titles:
            await until(lambda one=title: any(meter.values(one)), f"{title} to show it", within_s=20)
        other = await Testbed.open(bed.directory)  # as the watchdog does, from the disk
        cleared = await fault.undo(other, "kafka", params, memo, tag)
        await fault.undo(other, "kafka", params, memo, tag)
        await meter.more(after_ns=CLOCK.now_ns() + SECOND)
    injection = InjectionFacts(
        "i", name, "kafka", {}, call_ns, SECOND, fault.bite("kafka", params), fault.healed("kafka", params), (),
        call_ns, returned_ns, cleared.low_ns, cleared.high_ns, "conductor", "healed",
    )  # fmt: skip
    run = RunFacts(
        run_id="r", run_tag=1, seed=1, profile="quick", sealed=True, hash="", torn=(), missing=(), expect=None,
        limit_ns=5 * SECOND, hold_ns=SECOND, started_ns=started_ns, ended_ns=CLOCK.now_ns(), aborted=None, segments=(),
        topics=(), parts=PARTS, processes=PROCESSES, injections=(injection,), gauges=tuple(meter.meters.titles),
    )  # fmt: skip
    empty = (np.zeros(0, schema.dtype) for schema in (CANARIES, EXPOSURE, RESOURCES))
    verdict = judge_fault(run, Evidence(*empty, np.array(meter.rows, GAUGES.dtype)), injection)
    assert (verdict.bite, verdict.healed) == ("proved", "proved"), verdict.evidence


async def test_settings_of_before_come_back(bed, broker):
    topic = bed.record.topics[1].name
    key = "consumer_byte_rate"
    await admin.set_topic(broker, topic, "max.message.bytes", "500000")
    await admin.set_quotas(broker, key, {admin.EVERYBODY: 9e8})
    try:
        async with asyncio.timeout(10):
            while await admin.quota(broker, admin.EVERYBODY, key) != 9e8:
                await asyncio.sleep(0.05)
        for name in ("max_message_bytes", "quota"):
            fault, params, tag = chosen(name)
            memo = await fault.prepare(bed, "kafka", params)
            await fault.inject(bed, "kafka", params, memo, tag)
            await fault.undo(bed, "kafka", params, memo, tag)
        async with asyncio.timeout(10):
            while await admin.topic_setting(broker, topic, "max.message.bytes") != ("500000", True):
                await asyncio.sleep(0.05)
            while await admin.quota(broker, admin.EVERYBODY, key) != 9e8:
                await asyncio.sleep(0.05)
            while await admin.quota(broker, "chaosd-tap", key) is not None:
                await asyncio.sleep(0.05)
    finally:
        await admin.set_topic(broker, topic, "max.message.bytes", None)
        await admin.set_quotas(broker, key, {admin.EVERYBODY: None})


@pytest.mark.parametrize("name", WORDS)
async def test_undo_of_an_injection_that_never_happened_changes_nothing(bed, broker, name):
    fault, params, tag = chosen(name)
    topic = bed.record.topics[1].name
    memo = await fault.prepare(bed, "kafka", params)
    before = await admin.topic_setting(broker, topic, "max.message.bytes")
    await fault.undo(bed, "kafka", params, memo, tag)
    assert await admin.topic_setting(broker, topic, "max.message.bytes") == before
    assert len((await kafka_gauges.group(broker, bed.record.group)).members) == 1


async def test_undo_of_a_limit_on_a_topic_that_is_gone_has_nothing_to_do(bed):
    fault, params, tag = chosen("max_message_bytes")
    memo = await fault.prepare(bed, "kafka", params)
    cleared = await fault.undo(bed, "kafka", params, {**memo, "topic": "never-was"}, tag)
    assert cleared.high_ns >= cleared.low_ns


async def test_a_storm_whose_process_was_killed_leaves_no_member_behind(bed, broker):
    """Its members would stay until their session ends, and hold their partitions as long."""
    fault, params, tag = chosen("rebalance")
    memo = await fault.prepare(bed, "kafka", params)
    readback = await fault.inject(bed, "kafka", params, memo, tag)
    handle = spawn.Handle(readback["pid"], readback["started"])
    async with asyncio.timeout(20):
        while len((await kafka_gauges.group(broker, memo["group"])).members) < 2:
            await asyncio.sleep(0.02)
    spawn.send_signal(handle, signal.SIGKILL)
    await fault.undo(bed, "kafka", params, memo, tag)
    clients = [member.client for member in (await kafka_gauges.group(broker, memo["group"])).members]
    assert not any(client.startswith(servers.BREAKS) for client in clients)
    assert spawn.marked(bed.record.marker, servers.mark(tag)) == []


async def test_a_storm_over_a_group_of_nobody_is_refused(bed):
    fault, params, _ = chosen("rebalance")
    empty = SimpleNamespace(stack=bed.stack, record=replace(bed.record, group="nobody"))
    with pytest.raises(StackError, match="nobody is in the consumer group nobody"):
        await fault.prepare(empty, "kafka", params)


async def test_a_batch_that_is_only_tried_leaves_nothing_in_the_topic(bed, broker):
    topic = bed.record.topics[0].name
    for size in (100, 50_000, 2_000_000):
        tried = await admin.try_to_write(broker, topic, size)
        assert (tried.code == admin.TOO_LARGE) is (size > 1_048_588)
    consumer = AIOKafkaConsumer(bootstrap_servers=bed.stack.endpoints.direct.bootstrap)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        assert (await consumer.end_offsets([partition]))[partition] == RECORDS
    finally:
        await consumer.stop()
