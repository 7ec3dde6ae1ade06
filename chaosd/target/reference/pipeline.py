"""The way of one batch: read, skip what is finished, record, answer, mark, commit. Each step may be done twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiokafka import ConsumerRecord

from chaosd.target.reference.contract import Tick, Unprocessable, read_tick
from chaosd.target.reference.dedup import Dedup
from chaosd.target.reference.dlq import DeadLetters
from chaosd.target.reference.metrics import PipelineMetricsCollector
from chaosd.target.reference.outbox import Message, Outbox
from chaosd.target.reference.source import Batch, Source
from chaosd.target.reference.state import RiskStateManager
from chaosd.target.reference.store import RefusedByStoreError, TickStore
from chaosd.target.reference.strategy import answer


@dataclass(frozen=True, slots=True)
class Work:
    """One record, what was read from it, and the name under which it is marked as finished."""

    record: ConsumerRecord
    name: str
    result: Tick | Unprocessable


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline works with."""

    source: Source
    dedup: Dedup
    store: TickStore
    outbox: Outbox
    dead_letters: DeadLetters
    output_topic: str
    state: RiskStateManager
    metrics: PipelineMetricsCollector


class Pipeline:
    """At-least-once with idempotent effects. `run`, `handle`, `process`, `read` and `message` are seams for mutants."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def open(self) -> None:
        """Connect to everything; returns once this instance has its partitions.

        An unreachable PostgreSQL delays the first batch, not the joining of the group.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.parts.outbox.open())
            group.create_task(self.parts.source.open())

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; the batch under way is finished first."""
        while not stop.is_set():
            batch = await self.parts.source.poll()
            if batch.records:
                self.parts.metrics.set_last_activity_timestamp("poll", time.time())
                await self.handle(batch)

    async def handle(self, batch: Batch) -> None:
        """Process, then commit: a pipeline that dies in between is given the batch again."""
        await self.process(batch.records)
        await self.parts.source.finish(batch.offsets)

    async def process(self, records: Sequence[ConsumerRecord]) -> None:
        """Returns when every effect of every record is durable."""
        parts = self.parts
        works = {work.name: work for record in records if (work := self.read(record)) is not None}
        parts.metrics.increment_count("records", len(records))
        finished = await parts.dedup.finished(list(works))
        fresh = [work for work, done in zip(works.values(), finished, strict=True) if not done]
        parts.metrics.increment_count("skipped", len(records) - len(fresh))
        if not fresh:
            return
        fresh = await self._record(fresh)
        await parts.outbox.send([self.message(work) for work in fresh])
        await parts.dedup.mark([work.name for work in fresh])
        parts.metrics.set_last_activity_timestamp("finish", time.time())

    def read(self, record: ConsumerRecord) -> Work | None:
        """What is in the record; None would skip it, which the reference never does."""
        result = read_tick(record)
        if isinstance(result, Unprocessable):
            return Work(record, f"{record.partition}:{record.offset}", result)
        return Work(record, result.id.hex, result)

    def message(self, work: Work) -> Message:
        """What the record becomes: its signal, or its letter."""
        if isinstance(work.result, Tick):
            self.parts.metrics.increment_count("signals")
            return Message(self.parts.output_topic, work.record.key, answer(work.result))
        self.parts.metrics.increment_count("errors")
        return self.parts.dead_letters.letter(work.record, work.result)

    async def store(self, works: Sequence[Work]) -> None:
        """Record the ticks among them. Raises RefusedByStoreError."""
        ticks = [work.result for work in works if isinstance(work.result, Tick)]
        for totals in await self.parts.store.record(ticks):
            state = self.parts.state.update_position(totals.symbol, totals.volume, totals.notional, totals.ticks)
            if state.over_limit:
                self.parts.metrics.increment_count("over_limit")

    async def _record(self, works: list[Work]) -> list[Work]:
        """Store the ticks. When the store refuses the data, find the culprits one by one and make errors of them."""
        try:
            await self.store(works)
        except RefusedByStoreError as refused:
            if len(works) > 1:
                return [done for work in works for done in await self._record([work])]
            self.parts.metrics.increment_count("refused")
            return [
                replace(works[0], result=Unprocessable(refused.cause_class, str(refused), "the store refused the data"))
            ]
        return works
