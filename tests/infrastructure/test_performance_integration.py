"""What a round trip through the real parts takes, printed beside what the project aims at (`-rP` shows it).

A machine that is busy with something else says nothing about this code, so no time is asserted. Asserted is that what
was timed did its work, each time, on the real path.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal

import asyncpg
import pytest
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pipeline_bench import tick

from chaosd.envelope import wire
from chaosd.envelope.model import EventEnvelope

ROUNDS = 200


def tell(what: str, took_s: list[float], aim_ms: float | None = None) -> None:
    """Print the figures of one measurement."""
    taken_ms = sorted(1000 * one for one in took_s)
    mean, middle, late = statistics.fmean(taken_ms), statistics.median(taken_ms), taken_ms[len(taken_ms) * 99 // 100]
    aim = f"; aim: below {aim_ms:g} ms on average" if aim_ms else ""
    print(f"{what}: mean {mean:.3f} ms, median {middle:.3f} ms, 99th percentile {late:.3f} ms of {len(taken_ms)}{aim}")


async def timed(one: Callable[[int], Awaitable[None]], rounds: int = ROUNDS) -> list[float]:
    took = []
    for number in range(rounds):
        began = time.perf_counter()
        await one(number)
        took.append(time.perf_counter() - began)
    return took


@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "text"])
async def test_redis_writes_and_reads_in_both_decode_modes(stack, decode):
    place = stack.endpoints.proxied.redis
    key = f"test:{secrets.token_hex(4)}"
    async with redis.Redis(host=place.host, port=place.port, decode_responses=decode) as client:

        async def write_and_read(number: int) -> None:
            await client.hset(key, mapping={"symbol": "ACME", "price": f"{number}.50"})
            found = await client.hgetall(key)
            wanted = {"symbol": "ACME", "price": f"{number}.50"}
            assert found == (wanted if decode else {k.encode(): v.encode() for k, v in wanted.items()})

        took = await timed(write_and_read)
        await client.delete(key)
    tell(f"Redis, HSET and HGETALL ({'text' if decode else 'bytes'})", [one / 2 for one in took], 5)


async def test_postgres_writes_and_reads_in_a_transaction(stack):
    connection = await asyncpg.connect(stack.endpoints.proxied.postgres.dsn, timeout=5)
    table = f"test_{secrets.token_hex(4)}"
    await connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, price numeric)")
    try:

        async def write_and_read(number: int) -> None:
            async with connection.transaction():
                await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", number, Decimal(f"{number}.10"))
            assert await connection.fetchval(f"SELECT price FROM {table} WHERE id = $1", number) == Decimal(
                f"{number}.10"
            )

        took = await timed(write_and_read)
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == ROUNDS
    finally:
        await connection.execute(f"DROP TABLE {table}")
        await connection.close()
    tell("PostgreSQL, BEGIN, INSERT, COMMIT and SELECT (four round trips)", [one / 4 for one in took], 20)


@pytest.fixture
async def topic(stack) -> AsyncIterator[str]:
    name = f"speed-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=str(stack.endpoints.direct.kafka))
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, 1, 1)])
        assert answer.topic_errors[0][1] == 0
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


async def test_kafka_brings_an_envelope_there_and_back(stack, topic):
    bootstrap = str(stack.endpoints.proxied.kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=50)
    async with asyncio.timeout(60), AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer, consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning()

        async def there_and_back(number: int) -> None:
            given = tick(f"KAFKA-{number}")
            await producer.send(topic, given.value, key=given.key)
            record = await consumer.getone()
            assert (record.offset, record.key, record.value) == (number, given.key, given.value)
            assert wire.decode(record.value).id == given.id

        took = await timed(there_and_back)
    tell("Kafka, an envelope sent, acknowledged by all, read, decoded", took[1:], 10)


async def test_an_envelope_is_written_and_read_by_both_forms():
    value = tick("FORM").value
    forms = {
        "json": lambda: json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=False).encode(),
        "wire": lambda: wire.encode(wire.decode(value)),
        "model": lambda: EventEnvelope.model_validate_json(value).model_dump_json().encode(),
    }
    for name, form in forms.items():

        async def there_and_back(_: int, form: Callable[[], bytes] = form) -> None:
            assert form() == value

        tell(f"Envelope, decoded and encoded ({name})", await timed(there_and_back, 1000))
