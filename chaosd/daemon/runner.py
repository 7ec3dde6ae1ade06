"""Carries out one run after the other on the kept testbed, each by a conductor as a child, and keeps the results."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from chaosd.conductor.client import RunHandle, RunRequest, start
from chaosd.conductor.follow import Ending, follow
from chaosd.conductor.kept import Kept
from chaosd.daemon.config import Config, Schedule
from chaosd.daemon.metrics import Metrics
from chaosd.daemon.store import Result, Store
from chaosd.healing.halt import halted, said
from chaosd.journal import runs
from chaosd.kernel.clock import SECOND, Clock
from chaosd.kernel.errors import ChaosdError, Exit, JournalError
from chaosd.report import model

_ABORT_DEADLINE_S = 60.0
_LISTED_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Now:
    """The run that is going on."""

    schedule: str
    run_id: str
    phase: str


class Runner:
    """The queue of what is due, and its one worker: runs never overlap."""

    def __init__(
        self,
        config: Config,
        kept: Kept,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._config = config
        self._kept = kept
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._due: asyncio.Queue[Schedule] = asyncio.Queue()
        self._waiting: dict[str, Schedule] = {}
        self._handle: RunHandle | None = None
        self._stopping = ""
        self._worker: asyncio.Task[Any] | None = None
        self.now: Now | None = None
        self.unhealed = False

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names of the schedules that are due and wait for their turn, the next one first."""
        return tuple(self._waiting)

    def offer(self, schedule: Schedule) -> bool:
        """A schedule is due. False when it is waiting or running already (then once is enough), or at the end."""
        if self._stopping or schedule.name in self._waiting or (self.now and self.now.schedule == schedule.name):
            return False
        self._waiting[schedule.name] = schedule
        self._due.put_nowait(schedule)
        self._metrics.waiting.set(len(self._waiting))
        return True

    async def work(self) -> None:
        """Carry out what is due until `stop`."""
        self._worker = asyncio.current_task()
        while not self._stopping:
            schedule = await self._due.get()
            del self._waiting[schedule.name]
            self._metrics.waiting.set(len(self._waiting))
            try:
                await self.run(schedule)
            except (ChaosdError, sqlite3.Error, OSError) as error:
                # The next run may do better: a full disk is emptied, a database unlocked.
                self._log.error("the result of a run was not kept", schedule=schedule.name, error=str(error))

    async def run(self, schedule: Schedule) -> Exit:
        """One run, from the testbed to its stored result; none while chaosd is halted.

        Raises sqlite3.Error when the result cannot be stored.
        """
        self._worker = asyncio.current_task()
        reason = halted()
        if reason is not None:
            self._log.warning("run refused", schedule=schedule.name, reason=said(reason), remedy="chaosd resume")
            return Exit.ABORTED
        number = self._store.begin(schedule.name, schedule.experiment, self._clock.wall_ns())
        self.now = Now(schedule.name, "", "stack")
        self._metrics.running.set(1)
        self._log.info("run begins", schedule=schedule.name, experiment=schedule.experiment)
        ending = Ending("", None, "", (), Exit.ABORTED, "cancelled while its testbed was started")
        try:
            ending = await self._conduct(schedule, number)
        except ChaosdError as error:
            ending = Ending("", None, "", (), error.exit_code, str(error))
        finally:
            self.now = None
            self._metrics.running.set(0)
            self._put_down(number, schedule, ending)
        await self._prune()
        return ending.exit

    async def _conduct(self, schedule: Schedule, number: int) -> Ending:
        await self._kept.prepare()
        self.unhealed = False
        request = RunRequest(
            experiment=schedule.experiment,
            seed=schedule.seed,
            profile=self._config.profile,
            runs_dir=str(self._config.runs_dir),
            stack=self._config.stack,
            testbed=self._kept.name,
            keep=True,
            owner_pid=os.getpid(),
        )
        self._handle = await start(request, self._config.runs_dir / "conductor.log")
        if self._stopping:
            await self._handle.abort(self._stopping)
        try:
            return await follow(self._handle, lambda event: self._on_event(event, schedule, number))
        finally:
            handle, self._handle = self._handle, None
            await handle.close()

    def _on_event(self, event: dict[str, Any], schedule: Schedule, number: int) -> None:
        match event["event"]:
            case "run":
                self.now = Now(schedule.name, event["run_id"], "stack")
                with suppress(sqlite3.Error):  # told again at the end
                    self._store.name(number, event["run_id"], event["run_dir"])
            case "phase" if self.now:
                self.now = Now(schedule.name, self.now.run_id, event["name"])
            case "fault":
                fields = {key: event[key] for key in ("state", "fault", "on", "text")}
                self._log.info("fault", schedule=schedule.name, **fields)

    def _put_down(self, number: int, schedule: Schedule, ending: Ending) -> None:
        if ending.exit is Exit.UNHEALED:
            self.unhealed = True
            self._metrics.heal_failures.inc()
        if ending.exit is Exit.UNHEALED or not ending.verdict:
            self._kept.doubt()
        low_ms, high_ms = _slowest(ending.run_dir)
        ended_ns = self._clock.wall_ns()
        self._metrics.ran(ending.verdict)
        self._metrics.exit.set(int(ending.exit))
        self._metrics.ended.set(ended_ns / SECOND)
        self._metrics.recovery(low_ms, high_ms)
        self._log.info(
            "run ended", schedule=schedule.name, run_id=ending.run_id, verdict=ending.verdict, exit=int(ending.exit),
            reasons=ending.reasons, error=ending.error, remedy=ending.remedy,
        )  # fmt: skip
        if ending.run_id:
            self._store.name(number, ending.run_id, str(ending.run_dir))
        error = "\n  remedy: ".join(filter(None, (ending.error, ending.remedy)))
        code = int(ending.exit)
        self._store.end(number, Result(ended_ns, ending.verdict, code, ending.reasons, low_ms, high_ms, error))

    async def _prune(self) -> None:
        """Delete the directories of the daemon's own runs beyond those that stay; other runs there are not its own."""
        own = {run.run_id for run in self._store.runs(_LISTED_MAX)}
        listed = [run for run in runs.list_runs(self._config.runs_dir) if run.run_id in own]
        gone = []
        for run in runs.expired(listed, self._config.keep_runs):
            try:
                await asyncio.to_thread(runs.remove, run)
            except JournalError as error:
                self._log.warning("old run not deleted", run_id=run.run_id, error=str(error))
            else:
                gone.append(run.run_id)
        self._store.forget(gone)

    async def stop(self, reason: str) -> None:
        """Take no more; abort the run that is going on, which heals first, and wait for its end for at most 60 s."""
        self._stopping = reason
        if self._worker is None:
            return
        if self._handle is not None:
            await self._handle.abort(reason)
            await asyncio.wait({self._worker}, timeout=_ABORT_DEADLINE_S)
        self._worker.cancel()
        await asyncio.wait({self._worker})


def _slowest(run_dir: Path | None) -> tuple[float | None, float | None]:
    """The slowest recovery of a judged run in ms, as an interval; None for an end that is unknown."""
    path = run_dir / "verdict.json" if run_dir is not None else None
    if path is None or not path.is_file():
        return None, None
    try:
        episodes = model.decode(path.read_bytes(), str(path)).recovery
    except (JournalError, OSError):
        return None, None
    if not episodes:
        return None, None
    highs = [episode.high_ms for episode in episodes]
    known = [high for high in highs if high is not None]
    return max(episode.low_ms for episode in episodes), max(known) if len(known) == len(highs) else None
