"""Three real brokers: who is a member, what a fault on one of them does to the others, and two replicas of a target."""

from __future__ import annotations

import asyncio

import pytest
from cluster_bench import cluster, metered
from waits import until

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


async def test_every_broker_is_a_member_and_has_every_record_twice_before_it_counts(bed):
    topics = {topic.name: topic.partitions for topic in bed.record.topics}
    for broker in BROKERS:
        told = await protocol.metadata(bed.stack.endpoints.direct.of(broker))
        assert set(told.brokers) == {1, 2, 3}
        for name, count in {**topics, "__consumer_offsets": 1}.items():
            assert len(told.partitions[name]) == count
            for partition in told.partitions[name].values():
                assert partition.replicas == partition.in_sync == {1, 2, 3}


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
    async with metered(bed, kill.gauges("kafka/1", params)) as meter:
        led = meter.values("kafka/1.leads")[-1]
        await kill.inject(bed, "kafka/1", params, memo, "t")
        assert not spawn.alive(before)
        await until(lambda: meter.values("kafka/1.leads")[-1] == 0, "its partitions to be led by others", within_s=20)
        await until(lambda: meter.values("kafka/1.out_of_sync")[-1] > 0, "it to be out of sync", within_s=20)
        await kill.undo(bed, "kafka/1", params, memo, "t")
        await until(lambda: meter.values("kafka/1.out_of_sync")[-1] == 0, "it to be in sync", within_s=20)
    assert led > 0
    assert {partition.leader for partition in (await leaders(bed, "kafka/2", topic)).values()} <= {2, 3}
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

    try:
        async with asyncio.timeout(20):
            while (state := await group_state(admin, bed.record.group)).members != 2 or not state.ready:
                await asyncio.sleep(0.05)
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


async def test_a_broker_that_stood_still_is_in_sync_when_its_pause_is_undone(bed):
    pause, params = FAULTS["pause"], FAULTS["pause"].params()
    memo = await pause.prepare(bed, "kafka/2", params)
    async with metered(bed, pause.gauges("kafka/2", params)) as meter:
        await pause.inject(bed, "kafka/2", params, memo, "t")
        await until(lambda: meter.values("kafka/2.leads")[-1] == 0, "its partitions to be led by others", within_s=20)
        await pause.undo(bed, "kafka/2", params, memo, "t")
        await until(lambda: meter.values("kafka/2.out_of_sync")[-1] == 0, "it to be in sync", within_s=20)
    assert spawn.state(bed.handle("kafka/2")) not in ("T", "")
