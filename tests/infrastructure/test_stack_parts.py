"""Each part of the embedded stack: it serves, it is reached on two ways, it survives what is done to it."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import pytest
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chaosd.process import sockets, spawn
from chaosd.stack.part import NotReady
from chaosd.stack.parts.kafka import protocol
from chaosd.stack.parts.table import PARTS

NAMES = ("redis", "postgres", "kafka", "toxiproxy")
WAYS = (("stop", False), ("kill", True))


@pytest.fixture
async def mended(stack):
    """A stack whose parts all run again after the test."""
    yield stack
    for name in NAMES:
        await stack.start_part(name)


async def test_every_part_tells_the_version_that_is_on_record(stack):
    for name in ("redis", "postgres", "toxiproxy"):
        assert await stack.ready(name) == stack.part(name).version
    assert stack.part("kafka").version == "4.1.1"


async def test_every_part_has_an_origin(stack):
    assert all(part.origin for part in stack.record.parts.values())


async def test_every_port_belongs_to_the_process_on_record(stack):
    for name in NAMES:
        part = stack.part(name)
        assert all(sockets.owns(part.handle, port) for port in part.owns)


async def test_round_trips_work_on_both_ways(stack):
    for addresses in (stack.endpoints.direct, stack.endpoints.proxied):
        for name in ("redis", "postgres", "kafka"):
            await PARTS[name].round_trip(addresses.of(name))


async def test_metadata_keep_each_client_on_the_way_it_came(stack):
    for addresses in (stack.endpoints.direct, stack.endpoints.proxied):
        told = await protocol.metadata(addresses.kafka)
        assert told.brokers == {1: ("127.0.0.1", addresses.kafka.port)}


async def test_the_offsets_topic_is_there_before_the_first_group(stack):
    told = await protocol.metadata(stack.endpoints.direct.kafka)
    assert {n: found.leader for n, found in told.partitions["__consumer_offsets"].items()} == {0: 1}


async def test_one_proxy_stands_before_each_part_and_each_broker(stack):
    assert [stack.proxy_of(name) for name in NAMES] == [("redis",), ("postgres",), ("kafka-1",), ()]
    present = await stack.toxiproxy.list()
    assert {proxy.name: (proxy.listen, proxy.upstream) for proxy in stack.proxies()} == {
        name: (state.listen, state.upstream) for name, state in present.items()
    }


async def test_the_pipelines_role_is_ordinary_and_owns_its_database(stack):
    connection = await asyncpg.connect(stack.endpoints.proxied.postgres.dsn)
    try:
        row = await connection.fetchrow(
            "SELECT r.rolsuper, d.datname FROM pg_roles r JOIN pg_database d ON d.datdba = r.oid"
            " WHERE r.rolname = current_user"
        )
        assert tuple(row) == (False, "pipeline")
    finally:
        await connection.close()


async def test_chaosds_role_gets_in_when_the_pipeline_has_taken_all_connections(stack):
    taken = []

    async def take_all() -> None:
        for _ in range(25):
            connection = await asyncpg.connect(stack.endpoints.proxied.postgres.dsn)
            taken.append(connection)

    try:
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await take_all()
        connection = await asyncpg.connect(stack.endpoints.direct.postgres.dsn)
        assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        await connection.close()
    finally:
        for connection in taken:
            await connection.close()


@pytest.mark.parametrize(("way", "kill"), WAYS)
async def test_redis_keeps_what_it_acknowledged_over_a_restart(mended, way, kill):
    place, key = mended.endpoints.direct.redis, uuid.uuid4().hex
    async with redis.Redis(host=place.host, port=place.port) as client:
        await client.set(key, way)
    await mended.stop_part("redis", kill=kill)
    await mended.start_part("redis")
    async with redis.Redis(host=place.host, port=place.port) as client:
        assert await client.getdel(key) == way.encode()


@pytest.mark.parametrize(("way", "kill"), WAYS)
async def test_postgres_keeps_what_it_committed_over_a_restart(mended, way, kill):
    dsn, table = mended.endpoints.direct.postgres.dsn, f"t{uuid.uuid4().hex}"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE TABLE {table} AS SELECT 7 AS x")
    await mended.stop_part("postgres", kill=kill)
    connection.terminate()
    await mended.start_part("postgres")
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval(f"SELECT x FROM {table}") == 7
    await connection.execute(f"DROP TABLE {table}")
    await connection.close()


@pytest.mark.parametrize(("way", "kill"), WAYS)
async def test_kafka_keeps_what_it_acknowledged_over_a_restart(mended, way, kill):
    bootstrap, topic = str(mended.endpoints.direct.kafka), f"t-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, way.encode())
    await mended.stop_part("kafka", kill=kill)
    await mended.start_part("kafka")
    told = await protocol.metadata(mended.endpoints.direct.kafka)
    assert {n: found.leader for n, found in told.partitions[topic].items()} == {0: 1}
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(10):
            assert (await consumer.getone()).value == way.encode()


async def test_a_restarted_toxiproxy_has_its_proxies_and_no_toxics(mended):
    await mended.toxiproxy.add_toxic("redis", "slow", "latency", "downstream", {"latency": 50})
    await mended.stop_part("toxiproxy", kill=True)
    await mended.start_part("toxiproxy")
    present = await mended.toxiproxy.list()
    assert set(present) == {"redis", "postgres", "kafka-1"}
    assert not any(state.toxics for state in present.values())
    await PARTS["redis"].round_trip(mended.endpoints.proxied.redis)


@pytest.mark.parametrize("name", NAMES)
async def test_a_start_is_known_between_not_yet_and_already(mended, name):
    before = mended.handle(name)
    gone_ns = await mended.stop_part(name, kill=True)
    assert not mended.alive(name)
    started = await mended.start_part(name)
    assert gone_ns < started.ready_low_ns < started.ready_ns
    assert started.handle == mended.handle(name) != before
    assert (started.ready_ns - started.ready_low_ns) / 1e6 < 500


@pytest.mark.parametrize("name", NAMES)
async def test_a_paused_part_is_silent_and_a_resumed_one_is_the_same_process(mended, name):
    before = mended.handle(name)
    await mended.pause_part(name)
    try:
        assert {spawn.state(process) for process in spawn.tree(before)} == {"T"}
        with pytest.raises((NotReady, OSError, TimeoutError)):
            await mended.ready(name)
    finally:
        await mended.resume_part(name)
    await mended.start_part(name)
    assert mended.handle(name) == before


async def test_starting_a_part_that_runs_adopts_it(stack):
    before = stack.handle("redis")
    assert (await stack.start_part("redis")).handle == before


async def test_a_process_that_no_handle_names_is_adopted_by_its_mark(mended):
    await mended.stop_part("redis", kill=True)
    stray = spawn.start(mended.part("redis").recipe, mended.record.marker)
    assert (await mended.start_part("redis")).handle == stray


async def test_a_paused_and_killed_postgres_leaves_no_backend(mended):
    connection = await asyncpg.connect(mended.endpoints.direct.postgres.dsn)
    family = spawn.tree(mended.handle("postgres"))
    assert len(family) > 2
    await mended.pause_part("postgres")
    await mended.stop_part("postgres", kill=True)
    connection.terminate()
    assert not any(spawn.alive(process) for process in family)


async def test_the_whole_stack_stays_under_200_mb(stack):
    usage = await stack.usage()
    assert set(usage) == set(NAMES)
    assert sum(part.pss_kb for part in usage.values()) < 200_000


async def test_every_process_carries_the_mark_of_its_testbed(stack):
    marked = set(spawn.marked(stack.record.marker))
    for name in NAMES:
        assert stack.handle(name) in marked
        assert stack.handle(name) in spawn.marked(stack.record.marker, name)
    assert spawn.marked("another") == []
