"""The tap process: `python -m chaosd.traffic.tap CONFIG.json`.

Reads the run's input, output and dead letter topics through the DIRECT listener while the run goes on, and once more,
afresh, when it is over. Every record becomes a row; what deviates is kept with its bytes.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import TopicPartition

from chaosd.experiment.content import Inspection
from chaosd.journal.columns import HEARTBEATS, PROGRESS, SIGHTINGS, Deviation, Role
from chaosd.journal.stream import Columns
from chaosd.journal.write import Facts, Witness
from chaosd.kernel.clock import MS, Clock
from chaosd.process.control import Parent
from chaosd.process.heartbeat import beat
from chaosd.traffic import identify
from chaosd.traffic.afterwards import Afterwards, Unread
from chaosd.traffic.ages import Ages
from chaosd.traffic.config import Config, content_of, segment_of
from chaosd.traffic.process import run_process
from chaosd.traffic.progress import FAILURES, Progress
from chaosd.traffic.reader import Reader
from chaosd.traffic.returning import Returning
from chaosd.traffic.sight import Record, Row, Sight

_REPORT_S = 0.2
_FRESH_READ_S = 50.0
_BOUNDS_S = 10.0
_LIVE, _FINAL = 0, 1
_STRAY = Deviation.UNIDENTIFIED | Deviation.FOREIGN | Deviation.UNPLANNED

Offsets = dict[TopicPartition, int]
T = TypeVar("T")


class Tap:
    """Reader, sampler and rows of one run."""

    def __init__(self, config: Config, clock: Clock, emit: Callable[[Mapping[str, Any]], None]) -> None:
        run_dir = Path(config.run_dir)
        self._config = config
        self._clock = clock
        self._emit = emit
        contract = config.contract
        self._content = content_of(config, identify.load(contract.python) if contract is not None else None)
        self._facts = Facts(run_dir, "tap", clock)
        self._rows = Columns(run_dir, "tap", SIGHTINGS)
        self._progress_rows = Columns(run_dir, "tap", PROGRESS)
        self._beats = Columns(run_dir, "tap", HEARTBEATS)
        self._witness = Witness(run_dir, "tap")
        topics = [*config.topics, *config.later]
        self._sight = Sight(topics, self._content, self._witness)
        self._ages = Ages(config.seed, config.streams, self._content.results_of)
        self._afterwards = Afterwards(config, clock)
        self._progress = Progress(config, clock, self._progress_rows.append)
        self._returning = Returning(topics, self._progress, self._sight)
        self._starts: Offsets = {}
        self._counts = dict.fromkeys(Role, 0)
        self._live: Reader | None = None

    async def run(self, parent: Parent) -> None:
        """Read and follow commands until told to stop, or until the parent is gone."""
        self._starts = await self._begin()
        self._live = Reader(
            self._config.bootstrap, "tap", self._starts, self._clock, lambda since, at: self._beats.append((since, at))
        )
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(
                        self._live.follow(self._take_live, self._progress.healthy_ends), name="live read"
                    ),
                    group.create_task(self._progress.run(), name="progress"),
                    group.create_task(self._report(), name="report"),
                    group.create_task(self._topics_return(), name="topics that return"),
                    group.create_task(
                        beat(self._clock, lambda due, at: self._beats.append((due, at))), name="heartbeat"
                    ),
                ]
                commands = group.create_task(self._follow(parent), name="commands")
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, commands.cancel)
                self._emit({"event": "ready"})
                await asyncio.wait({commands})
                for helper in helpers:
                    helper.cancel()
        finally:
            await self._close()

    async def _begin(self) -> Offsets:
        """The ends of all partitions: what comes after them is of this run."""
        async with asyncio.timeout(_BOUNDS_S):
            log_starts, starts = await self._answered(self._progress.bounds)
            await self._answered(partial(self._afterwards.begin, self._progress))
        for partition in self._progress.inputs:
            self._sight.origins.begin(partition.topic, partition.partition, starts[partition])
        self._facts.append("tap_started", durable=True, starts=_by_topic(starts), log_starts=_by_topic(log_starts))
        return starts

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask Kafka until there is an answer; the caller bounds the time."""
        while True:
            try:
                return await ask()
            except FAILURES:
                await self._progress.close()
                await asyncio.sleep(_REPORT_S)

    async def _follow(self, parent: Parent) -> None:
        async for command in parent.commands():
            match command.get("cmd"):
                case "segment":
                    segment = segment_of(command)
                    self._content.add(segment)
                    self._ages.add(segment)
                case "fresh_read":
                    await self._fresh_read(str(command.get("dsn", "")))
                case "topic_deleted":
                    await self._topic_deleted(str(command["topic"]), str(command["injection"]))
                case "stop" | "abort":
                    return

    async def _topic_deleted(self, topic: str, injection: str) -> None:
        """Let go of a topic that was deleted, before another one of its name is made: whether it was is a fact."""
        left = await self._live.let_go(topic) if self._live else {}
        index, clean = await self._returning.await_return(topic, self._clock.now_ns())
        self._facts.append(
            "topic_deleted", durable=True, topic=topic, index=index, injection=injection, clean=clean,
            positions=_by_topic(left).get(topic, []),
        )  # fmt: skip
        self._emit({"event": "topic_let_go", "topic": topic})

    async def _topics_return(self) -> None:
        """Read what was made again in the place of a deleted topic, from its beginning on."""
        async for back in self._returning.follow(self._clock):
            start = {TopicPartition(back.topic, number): 0 for number in range(back.partitions)}
            self._starts.update(start)
            self._facts.append(
                "topic_returned", durable=True, topic=back.topic, index=back.index, of=back.of, role=back.role,
                partitions=back.partitions,
            )  # fmt: skip
            if self._live is not None:
                await self._live.take_up(start)
            # What is in it may have come since it was last seen missing.
            self._beats.append((back.missing_ns, self._clock.now_ns()))

    def _take_live(self, records: Sequence[Record]) -> None:
        self._take(_LIVE, records)

    def _take(self, final: int, records: Sequence[Record]) -> None:
        seen_ns = self._clock.now_ns()
        for record in records:
            self._counts_live(record, final)
            told = self._sight.look(record, seen_ns, final)
            if told is not None:
                self._keep(*told)
        for told in self._sight.again(seen_ns):
            self._keep(*told)

    def _counts_live(self, record: Record, final: int) -> None:
        if final == _LIVE:
            self._counts[self._sight.role_of(record.topic)] += 1

    def _keep(self, row: Row, role: Role, found: Inspection) -> None:
        self._rows.append(row)
        if role in (Role.OUTPUT, Role.DLQ) and not found.deviation & _STRAY and found.stream >= 0:
            seen_ns = row[4]
            self._ages.result(found.stream, found.seq, seen_ns, dead_letter=role is Role.DLQ)

    async def _fresh_read(self, dsn: str) -> None:
        """Read everything again with a fresh consumer, from the run's start to the ends of now, inputs first; then what
        is read only now. `dsn`: of PostgreSQL, DIRECT.
        """
        ends: Offsets = {}
        there = {at: start for at, start in self._starts.items() if at.topic not in self._returning.awaited}
        reader = Reader(self._config.bootstrap, "fresh", there, self._clock)
        inputs = set(self._progress.inputs)
        complete, why = False, ""
        try:
            async with asyncio.timeout(_FRESH_READ_S):
                _, ends = await self._answered(self._progress.bounds)
                take = partial(self._take, _FINAL)
                await reader.read_to(take, {tp: end for tp, end in ends.items() if tp in inputs})
                await reader.read_to(take, ends)
                await self._afterwards.read(take, self._progress, dsn)
                complete = not self._returning.awaited
        except TimeoutError:
            why = "it took too long"
        except (Unread, *FAILURES) as error:
            why = str(error)
        finally:
            await reader.close()
        for told in self._sight.again(self._clock.now_ns(), at_once=True):
            self._keep(*told)
        self._flush()
        self._rows.sync()
        self._facts.append(
            "fresh_read_done",
            durable=True,
            complete=complete,
            why=why,
            positions=_by_topic(reader.positions),
            unnamed=sorted(self._sight.unnamed),
        )
        self._emit(
            {
                "event": "fresh_read_done",
                "complete": complete,
                "why": why,
                "ends": _by_topic(ends),
                "starts": _by_topic(self._starts),
            }
        )

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            for told in self._sight.again(self._clock.now_ns()):
                self._keep(*told)
            self._flush()
            self._emit(self._state())

    def _state(self) -> dict[str, Any]:
        now_ns = self._clock.now_ns()
        return {
            "event": "progress",
            "input": self._counts[Role.INPUT],
            "output": self._counts[Role.OUTPUT],
            "dlq": self._counts[Role.DLQ],
            "resolved": self._ages.resolved,
            "unplanned_errors": int(self._ages.errors),
            "due_unresolved": self._ages.due_unresolved(now_ns),
            "age_ms": round(self._ages.oldest_ns(now_ns) / MS, 1),
            "last_new_ns": self._ages.last_new_ns,
            "max_latency_ms": round(self._ages.latency_ns_max / MS, 1),
            "progress": self._progress.summary(self._starts),
            "inside": self._progress.inside,
            "asked_ns": self._progress.asked_ns,
            "behind": self._live is None or self._live.behind(self._progress.ends),
            "positions": _by_topic(self._live.positions if self._live else self._starts),
        }

    def _flush(self) -> None:
        for columns in (self._rows, self._progress_rows, self._beats):
            columns.flush()

    async def _close(self) -> None:
        for told in self._sight.again(self._clock.now_ns(), at_once=True):
            self._keep(*told)
        renewed = self._live.renewed if self._live else 0
        if self._live:
            await self._live.close()
        await self._progress.close()
        for columns in (self._rows, self._progress_rows, self._beats):
            columns.close()
        self._witness.close()
        self._facts.append(
            "tap_stopped", durable=True, renewed=renewed, witnesses=self._witness.kept, dropped=self._witness.dropped
        )
        self._facts.close()
        self._emit({"event": "stopped"})


def _by_topic(offsets: Mapping[TopicPartition, int]) -> dict[str, list[int]]:
    """{topic: [offset of partition 0, 1, …]}."""
    found: dict[str, list[int]] = {}
    for partition in sorted(offsets):
        found.setdefault(partition.topic, []).append(offsets[partition])
    return found


def main(arguments: list[str]) -> int:
    """Run the process; gives its exit code."""
    # A collection stalls the eye of the judge, so there are few.
    gc.set_threshold(100_000, 50, 100)
    return run_process(lambda config, clock, parent: Tap(config, clock, parent.emit).run(parent), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
