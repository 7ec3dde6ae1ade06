"""The generator process: `python -m chaosd.traffic.generator CONFIG.json`.

Sends the planned envelopes on the monotonic clock through the DIRECT listener, open loop: a slow broker delays
acknowledgements, never the schedule. Before a send the journal holds, durably, that it may happen.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chaosd.envelope.partition import partition_of
from chaosd.experiment.content import Rendered
from chaosd.journal.columns import ACKS, HEARTBEATS, SENDS, Outcome, Role
from chaosd.journal.stream import Columns
from chaosd.journal.write import Facts
from chaosd.kernel.clock import MS, SECOND, Clock
from chaosd.process.control import Parent
from chaosd.process.heartbeat import beat
from chaosd.traffic.config import Config, content_of, segment_of
from chaosd.traffic.outcomes import POISONING, TOO_LARGE, outcome_of
from chaosd.traffic.process import run_process
from chaosd.traffic.schedule import Due, Schedule
from chaosd.traffic.sequence import Batch, newest, take_back

# Envelopes that are due within one tick go out together.
_TICK_NS = MS
# The watermark runs ahead of the schedule, so that its fdatasync never holds a send up.
_RESERVE_NS = SECOND
_REPORT_S = 0.2
_ABORT_FLUSH_S = 2.0
_CLOSE_S = 5.0
_BATCH_BYTES_MAX = 1_000_000
_LINGER_MS = 20


async def _wait(event: asyncio.Event, limit_s: float) -> None:
    """Wait for an event, but not longer than `limit_s`; it is clear afterwards."""
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return
    event.clear()


class Generator:
    """Schedule, producer and rows of one run. `lag_ns` is the greatest lateness since the last report."""

    def __init__(self, config: Config, clock: Clock, emit: Any) -> None:
        run_dir = Path(config.run_dir)
        self._config = config
        self._clock = clock
        self._emit = emit
        self._content = content_of(config)
        self._schedule = Schedule(config.seed)
        self._facts = Facts(run_dir, "generator", clock)
        self._sends = Columns(run_dir, "generator", SENDS)
        self._acks = Columns(run_dir, "generator", ACKS)
        self._beats = Columns(run_dir, "generator", HEARTBEATS)
        inputs = {topic.name: i for i, topic in enumerate(config.topics) if topic.role == Role.INPUT.name.lower()}
        # By stream: the index of its input topic.
        self._indices = [inputs[self._content.source_of(stream)[0]] for stream in range(config.streams)]
        self._classes: dict[str, int] = {}
        self._pending: dict[tuple[int, int, int], None] = {}
        self._wake = asyncio.Event()  # the loop of sends
        self._planned = asyncio.Event()  # the watermark
        self._poisoned = False
        self._stopping = False
        self._aborted = False
        self.sent = self.acked = self.failed = 0
        self.lag_ns = 0
        # The life of a batch: a shorter one burns the sequence of an idempotent producer in an outage.
        self._producer = AIOKafkaProducer(
            bootstrap_servers=config.bootstrap,
            client_id="chaosd-generator",
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=round(config.delivery_timeout_s * 1000),
            max_batch_size=_BATCH_BYTES_MAX,
            retry_backoff_ms=20,
            linger_ms=_LINGER_MS,
        )

    async def run(self, parent: Parent) -> None:
        """Follow commands until the schedule is done and stopped, or the parent is gone."""
        self._facts.append("generator_started", durable=True, delivery_timeout_s=self._config.delivery_timeout_s)
        await self._producer.start()
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._follow(parent), name="commands"),
                    group.create_task(self._reserve(), name="watermark"),
                    group.create_task(self._report(), name="report"),
                    group.create_task(
                        beat(self._clock, lambda due, at: self._beats.append((due, at))), name="heartbeat"
                    ),
                ]
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.abort)
                self._emit({"event": "ready"})
                await self._send_all()
                await self._settle()
                for helper in helpers:
                    helper.cancel()
        finally:
            await self._close()

    async def _follow(self, parent: Parent) -> None:
        async for command in parent.commands():
            match command.get("cmd"):
                case "segment":
                    segment = segment_of(command)
                    self._content.add(segment)
                    self._schedule.add(segment)
                    self._planned.set()
                case "stop":
                    self._stopping = True
                case "abort":
                    self.abort()
            self._wake.set()
        self.abort()  # the parent is gone

    def abort(self) -> None:
        """Send nothing more; what is under way gets a moment."""
        self._aborted = self._stopping = True
        self._schedule.clear()
        self._wake.set()

    async def _reserve(self) -> None:
        """Keep the durable watermark ahead of the schedule."""
        while True:
            upto = self._schedule.planned_until(self._clock.now_ns() + _RESERVE_NS)
            if upto > self._schedule.watermark:
                self._facts.append("send_intended", stream=-1, upto=upto)
                await asyncio.to_thread(self._facts.sync)
                self._schedule.watermark = upto
                self._wake.set()
            await _wait(self._planned, _RESERVE_NS / SECOND / 4)

    async def _send_all(self) -> None:
        while True:
            for due in self._schedule.due(self._clock.now_ns()):
                await self._send(due)
            while self._schedule.finished:
                index = self._schedule.finished.popleft()
                self._facts.append("segment_done", index=index)
                self._emit({"event": "segment_done", "index": index})
            if self._schedule.empty and self._stopping:
                return
            await self._rest()

    async def _rest(self) -> None:
        """Until the next envelope is due, at least a tick; or until a command comes."""
        due_ns = self._schedule.next_due_ns()
        now_ns = self._clock.now_ns()
        if due_ns is not None and due_ns - now_ns <= SECOND:
            await asyncio.sleep(max(due_ns - now_ns, _TICK_NS) / SECOND)
            return
        await _wait(self._wake, _REPORT_S)

    async def _send(self, due: Due) -> None:
        record = self._content.render(due.stream, due.seq, due.kind)
        self.lag_ns = max(self.lag_ns, self._clock.now_ns() - due.due_ns)
        for copy in range(1 + due.twice):
            await self._hand_over(due, record, copy)

    async def _hand_over(self, due: Due, record: Rendered, copy: int) -> None:
        """Give a record to the client; `copy` 1 is the same again. People are told of envelopes, not of copies."""
        index = self._indices[due.stream]
        self._sends.append((due.stream, due.seq, due.due_ns, self._clock.now_ns(), index, copy))
        self.sent += copy == 0
        topic, partitions = self._content.source_of(due.stream)
        partition = partition_of(record.key, partitions)
        try:
            sending = await self._producer.send(
                topic, record.value, record.key, partition=partition, headers=list(record.headers)
            )
        except KafkaError as error:
            self._failed(due, error, copy, outcome_of(error, local=True))
            return
        self._pending[due.stream, due.seq, copy] = None
        sending.add_done_callback(partial(self._sent, due, copy, newest(self._producer, topic, partition)))

    def _sent(self, due: Due, copy: int, batch: Batch, sending: asyncio.Future[Any]) -> None:
        error = sending.exception() if not sending.cancelled() else asyncio.CancelledError()
        if isinstance(error, TOO_LARGE) and batch.tries == 1:
            take_back(self._producer, batch)
        if self._pending.pop((due.stream, due.seq, copy), self) is self:
            return  # given up before
        if error is not None:
            self._failed(due, error, copy, outcome_of(error, local=False, tries=batch.tries))
            return
        self.acked += copy == 0
        done = sending.result()
        index, now_ns = self._indices[due.stream], self._clock.now_ns()
        self._acks.append((due.stream, due.seq, 0, index, done.partition, done.offset, now_ns, 0, copy))

    def _failed(self, due: Due, error: BaseException, copy: int, outcome: Outcome) -> None:
        self.failed += 1
        code = self._class_of(type(error).__name__)
        now_ns = self._clock.now_ns()
        self._acks.append((due.stream, due.seq, outcome, self._indices[due.stream], -1, -1, now_ns, code, copy))
        if isinstance(error, POISONING) and not self._poisoned:
            self._poisoned = True
            self._facts.append("generator_poisoned", durable=True, errors=[type(error).__name__])
            self._emit({"event": "poisoned", "errors": [type(error).__name__]})

    def _class_of(self, name: str) -> int:
        if name not in self._classes:
            self._classes[name] = len(self._classes) + 1
            self._facts.append("error_class", index=self._classes[name], name=name)
        return self._classes[name]

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_S)
            self._flush()
            self._emit(
                {
                    "event": "progress",
                    "sent": self.sent,
                    "acked": self.acked,
                    "failed": self.failed,
                    "pending": len(self._pending),
                    "lag_ms": round(self.lag_ns / MS, 3),
                }
            )
            self.lag_ns = 0

    def _flush(self) -> None:
        for columns in (self._sends, self._acks, self._beats):
            columns.flush()

    async def _settle(self) -> None:
        """Wait until every send has an outcome; what has none when its time is over is INDETERMINATE."""
        started_ns = self._clock.now_ns()
        while self._pending:
            limit_s = _ABORT_FLUSH_S if self._aborted else self._config.delivery_timeout_s + 1
            if self._clock.now_ns() - started_ns > limit_s * SECOND:
                break
            await asyncio.sleep(_TICK_NS / SECOND)
        pending = len(self._pending)
        for stream, seq, copy in self._pending:
            code = self._class_of("Unresolved")
            row = (stream, seq, Outcome.INDETERMINATE, self._indices[stream], -1, -1, -1, code, copy)
            self._acks.append(row)
        self._pending.clear()
        self._flush()
        self._facts.append("generator_stopped", durable=True, pending=pending)
        self._emit(
            {
                "event": "progress",
                "sent": self.sent,
                "acked": self.acked,
                "failed": self.failed,
                "pending": pending,
                "lag_ms": 0.0,
            }
        )
        self._emit({"event": "stopped", "pending": pending})

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._producer.stop()
        except (TimeoutError, KafkaError):
            logging.getLogger(__name__).warning("the producer did not stop in time")
        for columns in (self._sends, self._acks, self._beats):
            columns.close()
        self._facts.close()


def main(arguments: list[str]) -> int:
    """Run the process; gives its exit code."""
    # A collection stalls the clock of the sends, so there are few.
    gc.set_threshold(100_000, 50, 100)
    return run_process(lambda config, clock, parent: Generator(config, clock, parent.emit).run(parent), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
