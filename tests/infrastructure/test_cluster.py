"""Three real brokers: who is a member, what a fault on one of them does to the others, and two replicas of a target."""

from __future__ import annotations

import asyncio
import time

import pytest
from cluster_bench import cluster

from chaosd.faults.table import FAULTS
from chaosd.kernel.errors import UsageError
from chaosd.process import spawn
from chaosd.stack.parts.kafka import protocol
from chaosd.stack.stack import Stack
from chaosd.target.progress import group_state, open_admin

BROKERS = ("kafka/1", "kafka/2", "kafka/3")


@pytest.fixture(scope="module")
async def bed(tmp_path_factory):
    async with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


async def leaders(bed, broker: str, topic: str) -> dict[int, protocol.Partition]:
    return (await protocol.metadata(bed.stack.endpoints.direct.of(broker))).partitions[topic]


async def until(seen, waits_for: str, within_s: float = 15.0):
    began = time.monotonic()
    while not (found := await seen()):
        assert time.monotonic() - began < within_s, f"waited {within_s} s for {waits_for}"
        await asyncio.sleep(0.05)
    return found


async def test_every_broker_is_a_member_and_has_every_record_twice_before_it_counts(bed):
    topics = {topic.name: topic.partitions for topic in bed.record.topics}
    for broker in BROKERS:
        told = await protocol.metadata(bed.stack.endpoints.direct.of(broker))
        assert set(told.brokers) == {1, 2, 3}
        for name, count in {**topics, "__consumer_offsets": 1}.items():
            assert len(told.partitions[name]) == count
            for partition in told.partitions[name].values():
                assert partition.replicas == partition.in_sync == {1, 2, 3}
    led = {partition.leader for partition in (await leaders(bed, "kafka/1", bed.record.topics[0].name)).values()}
    assert led == {1, 2, 3}


async def test_each_broker_has_a_proxy_of_its_own_and_sends_clients_back_to_it(bed):
    assert bed.stack.proxy_of("kafka") == ("kafka-1", "kafka-2", "kafka-3")
    assert bed.stack.proxy_of("kafka/2") == ("kafka-2",)
    assert bed.parts == ("redis", "postgres", *BROKERS)
    assert bed.processes[-3:] == ("toxiproxy", "target/0", "target/1")
    told = await protocol.metadata(bed.stack.endpoints.proxied.of("kafka/3"), topics=False)
    proxied = [bed.stack.endpoints.proxied.of(broker).port for broker in BROKERS]
    assert [port for _, port in (told.brokers[node] for node in (1, 2, 3))] == proxied


async def test_the_cluster_is_rebuilt_from_its_folder_and_an_unknown_broker_names_the_nearest(bed):
    other = Stack.open(bed.directory)
    assert other.record == bed.stack.record
    assert other.members("kafka") == BROKERS
    with pytest.raises(UsageError, match="did you mean 'kafka/"):
        other.members("kafka/4")
    usage = await other.usage()
    assert all(usage[broker].pss_kb > 10_000 for broker in BROKERS)


async def test_a_killed_broker_loses_its_partitions_to_the_others_and_is_in_sync_when_it_is_back(bed):
    kill, params = FAULTS["kill"], FAULTS["kill"].params()
    topic = bed.record.topics[0].name
    before, others = bed.handle("kafka/1"), [bed.handle(broker) for broker in BROKERS[1:]]
    memo = await kill.prepare(bed, "kafka/1", params)
    await kill.inject(bed, "kafka/1", params, memo, "t")
    assert not spawn.alive(before)

    async def moved() -> bool:
        return {partition.leader for partition in (await leaders(bed, "kafka/2", topic)).values()} <= {2, 3}

    await until(moved, "leaders on the other brokers")
    await kill.undo(bed, "kafka/1", params, memo, "t")
    again = bed.handle("kafka/1")
    await kill.undo(bed, "kafka/1", params, memo, "t")
    assert bed.handle("kafka/1") == again != before
    assert [bed.handle(broker) for broker in BROKERS[1:]] == others
    assert all(1 in partition.in_sync for partition in (await leaders(bed, "kafka/1", topic)).values())


async def test_all_brokers_end_and_come_back_together(bed):
    """No one of them could be ready before the others: a quorum takes two."""
    kill, params = FAULTS["kill"], FAULTS["kill"].params()
    before = {broker: bed.handle(broker) for broker in BROKERS}
    memo = await kill.prepare(bed, "kafka", params)
    assert set(memo["processes"]) == set(BROKERS)
    await kill.inject(bed, "kafka", params, memo, "t")
    assert not any(spawn.alive(handle) for handle in before.values())
    await kill.undo(bed, "kafka", params, memo, "t")
    assert len((await protocol.metadata(bed.stack.endpoints.direct.of("kafka/3"))).brokers) == 3
    assert all(bed.handle(broker) != before[broker] for broker in BROKERS)


async def test_one_replica_is_killed_and_the_other_is_left_alone(bed):
    kill, params = FAULTS["kill"], FAULTS["kill"].params()
    first, second = bed.handle("target/0"), bed.handle("target/1")
    memo = await kill.prepare(bed, "target/0", params)
    await kill.inject(bed, "target/0", params, memo, "t")
    assert not spawn.alive(first)
    await kill.undo(bed, "target/0", params, memo, "t")
    assert bed.handle("target/0") != first
    assert bed.handle("target/1") == second
    assert spawn.alive(second)
    admin = await open_admin(bed.stack.endpoints.direct.bootstrap)

    async def both() -> bool:
        state = await group_state(admin, bed.record.group)
        return state.ready and state.members == 2

    try:
        await until(both, "a stable group of two")
    finally:
        await admin.close()


async def test_both_replicas_are_paused_and_go_on(bed):
    pause, params = FAULTS["pause"], FAULTS["pause"].params()
    handles = [bed.handle(name) for name in bed.members("target")]
    memo = await pause.prepare(bed, "target", params)
    await pause.inject(bed, "target", params, memo, "t")
    assert [spawn.state(handle) for handle in handles] == ["T", "T"]
    await pause.undo(bed, "target", params, memo, "t")
    assert all(spawn.state(handle) not in ("T", "") for handle in handles)
