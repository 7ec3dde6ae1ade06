"""Reads a dead letter topic, and the original records that its letters name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from chaosd.envelope.dialects import table
from chaosd.envelope.dialects.letter import DeadLetter
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import StackError, UsageError, nearest
from chaosd.testbed.topics import admin
from chaosd.traffic.reader import Reader
from chaosd.traffic.sight import Record

_CALL_S = 10.0
_READ_S = 120.0
_RECORDS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """A record of the DLQ: its place there, when it came, and what it says; `letter` None in no known dialect."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    size: int
    letter: DeadLetter | None

    @property
    def place(self) -> str:
        """How a person names it: `partition/offset`."""
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Original:
    """The record that a letter is about, byte for byte."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


async def read_letters(bootstrap: str, topic: str, dialect: str = "") -> list[Found]:
    """All records of the DLQ that are there now, in the order in which they came.

    Raises UsageError for an unknown topic or dialect, StackError when Kafka does not answer.
    """
    if dialect and dialect not in table.DIALECTS:
        near = nearest(dialect, table.DIALECTS)
        remedy = f"did you mean {near!r}?" if near else f"one of: {', '.join(table.DIALECTS)}"
        raise UsageError(f"there is no dialect {dialect!r}", remedy=remedy)
    partitions = [TopicPartition(topic, number) for number in range((await _partitions(bootstrap, [topic]))[topic])]
    async with _consumer(bootstrap) as consumer:
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    if sum(ends[one] - starts[one] for one in partitions) > _RECORDS_MAX:
        raise UsageError(f"{topic} holds more than {_RECORDS_MAX} records", remedy="read it in parts, by its own tools")
    records = await _read(bootstrap, starts, ends)
    return [_found(record, dialect) for record in sorted(records, key=lambda one: (one.timestamp, one.offset))]


def _found(record: Record, dialect: str) -> Found:
    return Found(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        size=len(record.value or b""),
        letter=table.read(record.key, record.value, tuple(record.headers), dialect),
    )


async def read_originals(bootstrap: str, letters: Iterable[DeadLetter]) -> dict[tuple[str, int, int], Original]:
    """The original records that are still in their topics, by (topic, partition, offset)."""
    wanted: dict[TopicPartition, set[int]] = {}
    for letter in letters:
        if letter.placed:
            wanted.setdefault(TopicPartition(letter.topic, letter.partition), set()).add(letter.offset)
    if not wanted:
        return {}
    known = await _partitions(bootstrap, sorted({one.topic for one in wanted}), absent_is_none=True)
    there = [one for one in wanted if one.partition < known.get(one.topic, 0)]
    async with _consumer(bootstrap) as consumer:
        starts = await consumer.beginning_offsets(there) if there else {}
        ends = await consumer.end_offsets(there) if there else {}
    left = {one: {n for n in wanted[one] if starts[one] <= n < ends[one]} for one in there}
    left = {one: offsets for one, offsets in left.items() if offsets}
    records = await _read(bootstrap, {one: min(left[one]) for one in left}, {one: max(left[one]) + 1 for one in left})
    return {
        (record.topic, record.partition, record.offset): Original(record.key, record.value, tuple(record.headers))
        for record in records
        if record.offset in left[TopicPartition(record.topic, record.partition)]
    }


async def _read(
    bootstrap: str, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> list[Record]:
    records: list[Record] = []

    def take(batch: Sequence[Record]) -> None:
        # A fetch may go beyond the end that was asked for.
        records.extend(one for one in batch if one.offset < ends[TopicPartition(one.topic, one.partition)])

    reader = Reader(bootstrap, "dlq", starts, SystemClock())
    try:
        async with asyncio.timeout(_READ_S):
            await reader.read_to(take, ends)
    except TimeoutError as error:
        raise StackError(f"Kafka on {bootstrap} did not give all records within {_READ_S:.0f} s") from error
    finally:
        await reader.close()
    return records


async def _partitions(bootstrap: str, topics: Sequence[str], *, absent_is_none: bool = False) -> dict[str, int]:
    """How many partitions each of the topics has; UsageError for one that is not there, unless that is no matter."""
    async with _answering(bootstrap), admin(bootstrap) as client:
        known = await client.list_topics()
        there = [topic for topic in topics if topic in known]
        described = await client.describe_topics(there) if there else []
    if len(there) < len(topics) and not absent_is_none:
        absent = next(topic for topic in topics if topic not in known)
        near = nearest(absent, known)
        remedy = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
        raise UsageError(f"there is no topic {absent!r}", remedy=remedy)
    return {str(topic["topic"]): len(topic["partitions"]) for topic in described}


@asynccontextmanager
async def _answering(bootstrap: str) -> AsyncIterator[None]:
    """Raises StackError where Kafka does not answer, or not in time."""
    try:
        async with asyncio.timeout(_CALL_S):
            yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise StackError(
            f"Kafka on {bootstrap} does not answer: {type(error).__name__} {error}".rstrip(),
            remedy="`chaosd stack status` shows what is up",
        ) from error


@asynccontextmanager
async def _consumer(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, client_id="chaosd-dlq", group_id=None, isolation_level="read_committed"
    )
    try:
        async with _answering(bootstrap):
            await consumer.start()
        yield consumer
    finally:
        await consumer.stop()
