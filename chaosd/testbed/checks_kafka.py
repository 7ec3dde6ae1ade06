"""Kafka: a round trip, partitions, order by key, headers, a group that continues; an envelope that comes back whole."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from chaosd.envelope.identity import digest
from chaosd.envelope.kinds import EventType
from chaosd.envelope.model import EventEnvelope
from chaosd.kernel.clock import SECOND, Clock
from chaosd.kernel.errors import StackError
from chaosd.stack.address import Address
from chaosd.testbed import topics
from chaosd.testbed.checks import Check, holds, within
from chaosd.testbed.record import Topic

BUDGET_MS = 10.0
ERRORS = (KafkaError, StackError, OSError, TimeoutError)
_PARTITIONS = 3
_ROUNDS = 50
_LIMIT_S = 15.0
_HEADERS = [("chaosd-doctor", b"\x00\xff"), ("empty", b"")]


async def check(address: Address, clock: Clock, advertised: frozenset[int] | None = None) -> list[Check]:
    """Raises KafkaError or TimeoutError when there is no answer. `advertised`: the ports that clients may be told."""
    name = f"chaosd-doctor-{secrets.token_hex(6)}"
    async with asyncio.timeout(_LIMIT_S):
        await topics.create(str(address), (Topic(name, "internal", _PARTITIONS),))
        try:
            return await _asked(address, name, clock, advertised)
        finally:
            await topics.delete(str(address), [name])


async def _asked(address: Address, name: str, clock: Clock, advertised: frozenset[int] | None) -> list[Check]:
    async with (
        AIOKafkaProducer(bootstrap_servers=str(address), acks="all", linger_ms=0) as producer,
        AIOKafkaConsumer(bootstrap_servers=str(address), fetch_max_wait_ms=50) as consumer,
    ):
        parts = [TopicPartition(name, number) for number in range(_PARTITIONS)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        line = _Line(producer, consumer, name)
        found = [await _time(line, clock), *await _order(line), await _envelope(line)]
        known = await producer.partitions_for(name)
        number = f"{len(known)} partitions"
        found.append(
            holds("kafka", "partitions", passed=len(known) == _PARTITIONS, measured=number, wanted=f"{_PARTITIONS}")
        )
        if advertised is not None:
            ports = {broker.port for broker in producer.client.cluster.brokers()}
            told, wanted = f"told {sorted(ports)}", f"of {sorted(advertised)}"
            remedy = "advertise the proxies' ports on a listener of their own"
            name_of_it = "no way around the proxies"
            found.append(
                holds("kafka", name_of_it, passed=ports <= advertised, measured=told, wanted=wanted, remedy=remedy)
            )
    found.append(await _group(address, name))
    return found


class _Line:
    """A producer and a consumer on one topic."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._producer = producer
        self._consumer = consumer
        self._topic = topic

    async def through(self, value: bytes, key: bytes = b"k") -> tuple[bytes, list[tuple[str, bytes]], int]:
        """Value, headers and partition of a record as the consumer gets it."""
        sent = await self._producer.send_and_wait(self._topic, value, key=key, headers=_HEADERS)
        while True:
            for batch in (await self._consumer.getmany(timeout_ms=200)).values():
                for record in batch:
                    if (record.partition, record.offset) == (sent.partition, sent.offset):
                        return record.value, list(record.headers), record.partition


async def _time(line: _Line, clock: Clock) -> Check:
    await line.through(b"first")  # connections, metadata
    took_ms = []
    for number in range(_ROUNDS):
        began_ns = clock.now_ns()
        await line.through(b"%d" % number)
        took_ms.append((clock.now_ns() - began_ns) / (SECOND / 1000))
    return within("kafka", "round trip, acks=all", took_ms, BUDGET_MS, "is the machine busy? is a proxy's toxic left?")


async def _order(line: _Line) -> list[Check]:
    partitions: dict[bytes, list[int]] = {}
    headers: list[tuple[str, bytes]] = []
    for number in range(12):
        key = b"key-%d" % (number % 4)
        _, headers, partition = await line.through(b"%d" % number, key)
        partitions.setdefault(key, []).append(partition)
    kept = all(len(set(seen)) == 1 for seen in partitions.values())
    return [
        holds("kafka", "a key keeps its partition", passed=kept, measured=f"{len(partitions)} keys", wanted="one each"),
        holds(
            "kafka", "headers", passed=headers == _HEADERS, measured=f"{len(headers)} as sent", wanted="bytes as sent"
        ),
    ]


async def _envelope(line: _Line) -> Check:
    """Envelope → JSON → Kafka → JSON → envelope: no amount, no moment, nothing changes; a flipped bit is noticed."""
    ident = uuid.uuid4()
    moment = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    sent = EventEnvelope(
        id=ident,
        correlation_id=ident,
        trace_id=ident,
        broker="doctor",
        type=EventType.MARKET_TICK,
        ts=moment,
        key="ACME",
        source="chaosd doctor",
        data={"price": "0.10", "at": moment.isoformat()},
    )
    value = sent.model_dump_json().encode()
    back, *_ = await line.through(value)
    read = EventEnvelope.model_validate_json(back)
    same = read == sent and read.ts.isoformat() == sent.ts.isoformat() and back == value
    exact = str(Decimal(read.data["price"])) == "0.10"
    flipped = bytes([back[0] ^ 1]) + back[1:]
    noticed = digest(1, 0, 0, "doctor", b"k", flipped) != digest(1, 0, 0, "doctor", b"k", value)
    measured = f"{'same' if same else 'other'} envelope, amount {'exact' if exact else 'changed'}, "
    measured += f"flipped bit {'noticed' if noticed else 'passed over'}"
    fine = same and exact and noticed
    return holds("envelope", "through JSON and Kafka", passed=fine, measured=measured, wanted="same, exact, noticed")


async def _group(address: Address, name: str) -> Check:
    """A group that committed continues there."""
    group = f"{name}-group"
    seen: list[int] = []
    end = -1
    for _ in range(2):
        async with AIOKafkaConsumer(
            bootstrap_servers=str(address), group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
        ) as consumer:
            part = TopicPartition(name, 0)
            consumer.assign([part])
            seen.append(await consumer.position(part))
            end = (await consumer.end_offsets([part]))[part]
            await consumer.commit({part: end})
    fine = len(seen) == 2 and seen[1] == end
    return holds(
        "kafka", "group continues where it committed", passed=fine, measured=f"{seen[-1]} of {end}", wanted="the end"
    )
