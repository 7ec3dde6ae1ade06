"""Connections by the servers' own count: pools use few again and again, and whoever closes leaves none behind."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

import asyncpg
import psutil
import pytest
import redis.asyncio as redis
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pipeline_bench import tick

from chaosd.target.reference.contract import read_tick
from chaosd.target.reference.dedup import Dedup
from chaosd.target.reference.noise import Noise
from chaosd.target.reference.retry import Retry
from chaosd.target.reference.store import PostgresStore

USES = 200
AT_ONCE = 16


async def settles(count: Callable[[], Awaitable[int]], wanted: int, what: str) -> None:
    """A server notices a closed socket a moment later."""
    deadline = time.monotonic() + 5
    while (now := await count()) != wanted:
        assert time.monotonic() < deadline, f"waited 5 s for {wanted} connections {what}, there are {now}"
        await asyncio.sleep(0.02)


async def in_parallel(use: Callable[[int], Awaitable[None]]) -> None:
    """USES uses, AT_ONCE of them at a time."""
    numbers = iter(range(USES))

    async def worker() -> None:
        for number in numbers:
            await use(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())


@pytest.fixture
def name() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
async def redis_connections(stack):
    """How many connections of a client name Redis has."""
    place = stack.endpoints.direct.redis
    async with redis.Redis(host=place.host, port=place.port) as asking:

        async def count(client_name: str) -> int:
            return sum(one["name"] == client_name for one in await asking.client_list())

        yield count


@pytest.fixture
async def postgres_connections(stack):
    """How many sessions of an application name PostgreSQL has."""
    asking = await asyncpg.connect(stack.endpoints.direct.postgres.dsn, timeout=5)

    async def count(application: str) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        return await asking.fetchval(query, application)

    yield count
    await asking.close()


@pytest.fixture
async def topic(stack, name):
    admin = AIOKafkaAdminClient(bootstrap_servers=str(stack.endpoints.direct.kafka))
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, 1, 1)])
        assert answer.topic_errors[0][1] == 0
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


def kafka_connections(stack) -> int:
    """This process's established connections to the broker's proxy, by the kernel's own table."""
    port = stack.endpoints.proxied.kafka.port
    mine = psutil.Process().net_connections(kind="tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and one.raddr and one.raddr.port == port for one in mine)


async def test_a_redis_pool_uses_its_connections_again_and_leaves_none(stack, name, redis_connections):
    place = stack.endpoints.proxied.redis
    pool = redis.BlockingConnectionPool(
        host=place.host, port=place.port, client_name=name, max_connections=4, timeout=10
    )
    before = await redis_connections(name)

    async with redis.Redis(connection_pool=pool) as client:

        async def use(number: int) -> None:
            await client.set(f"{name}:{number}", number, ex=60)

        await in_parallel(use)
        assert 1 <= await redis_connections(name) <= 4
    await pool.aclose()
    await settles(lambda: redis_connections(name), before, f"of {name}")


async def test_redis_connections_whose_use_raised_are_given_back(stack, name, redis_connections):
    place = stack.endpoints.proxied.redis
    pool = redis.BlockingConnectionPool(
        host=place.host, port=place.port, client_name=name, max_connections=2, timeout=10
    )
    async with redis.Redis(connection_pool=pool) as client:
        await client.set(name, "text", ex=60)
        for _ in range(20):
            with pytest.raises(redis.ResponseError):
                await client.incr(name)
        assert await redis_connections(name) <= 2
        assert await client.get(name) == b"text"
    await pool.aclose()
    await settles(lambda: redis_connections(name), 0, f"of {name}")


async def test_a_postgres_pool_uses_its_connections_again_and_leaves_none(stack, name, postgres_connections):
    pool = await asyncpg.create_pool(
        stack.endpoints.proxied.postgres.dsn, min_size=1, max_size=4, server_settings={"application_name": name}
    )
    served: set[int] = set()

    async def use(number: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            served.add(await connection.fetchval("SELECT pg_backend_pid()"))

    await in_parallel(use)
    assert 1 <= len(served) <= 4
    assert await postgres_connections(name) == len(served)
    await pool.close()
    await settles(lambda: postgres_connections(name), 0, f"of {name}")


async def test_postgres_connections_come_back_clean_after_errors_and_cancellations(stack, name, postgres_connections):
    pool = await asyncpg.create_pool(
        stack.endpoints.proxied.postgres.dsn, min_size=1, max_size=2, server_settings={"application_name": name}
    )

    async def fail() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1 / 0")

    async def hang() -> None:
        async with asyncio.timeout(0.05), pool.acquire() as connection:
            await connection.execute("SELECT pg_sleep(60)")

    for _ in range(5):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        with pytest.raises(TimeoutError):
            await hang()
    async with pool.acquire() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT 1") == 1
    assert await postgres_connections(name) <= 2
    await pool.close()
    await settles(lambda: postgres_connections(name), 0, f"of {name}")


async def test_kafka_clients_close_every_socket_that_they_opened(stack, topic):
    before = kafka_connections(stack)
    bootstrap = str(stack.endpoints.proxied.kafka)
    for number in range(5):
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
            await producer.send_and_wait(topic, str(number).encode())
            async with (
                asyncio.timeout(10),
                AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer,
            ):
                while (await consumer.getone()).value != str(number).encode():
                    pass
                assert kafka_connections(stack) > before
    assert kafka_connections(stack) == before


async def test_the_pipelines_own_clients_hold_one_connection_each_however_much_they_do(stack, redis_connections):
    """Not a pool that grows: Redis' client has at most 4, the store exactly one, and both leave none."""
    retry = Retry(Noise(structlog.get_logger()))
    place = stack.endpoints.proxied.redis
    marked = f"test-{secrets.token_hex(4)}"
    dedup = Dedup(f"redis://{place}?client_name={marked}", marked, retry)
    for number in range(50):
        await dedup.mark([f"{number}"])
        assert await dedup.finished([f"{number}", "other"]) == [True, False]
    assert await redis_connections(marked) == 1
    await dedup.close()
    await settles(lambda: redis_connections(marked), 0, f"of {marked}")
    store = PostgresStore(f"{stack.endpoints.proxied.postgres.dsn}?application_name={marked}", retry)
    asking = await asyncpg.connect(stack.endpoints.direct.postgres.dsn, timeout=5)
    try:

        async def sessions() -> int:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
            return await asking.fetchval(query, marked)

        for _ in range(20):
            await store.record([_tick(marked)])
        assert await sessions() == 1
        store.abort()
        await settles(sessions, 0, f"of {marked}")
        [totals] = await store.record([_tick(marked)])
        assert totals.ticks == 21
        assert await sessions() == 1
        store.abort()
        await settles(sessions, 0, f"of {marked}")
    finally:
        await asking.close()


def _tick(symbol: str):
    class Record:
        value = tick(symbol).value

    return read_tick(Record())
