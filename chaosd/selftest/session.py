"""Runs cases one after the other on one kept testbed, which ends with this process whatever happens to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from chaosd.conductor.client import RunHandle, RunRequest, start
from chaosd.conductor.follow import Ending, follow
from chaosd.conductor.kept import Kept
from chaosd.conductor.stacks import EMBEDDED
from chaosd.kernel.clock import SECOND, Clock, SystemClock
from chaosd.kernel.errors import Exit, HealError, RunAborted
from chaosd.kernel.verdict import Grade
from chaosd.report import model
from chaosd.selftest.matrix import Case
from chaosd.selftest.outcome import Attempt, attempt

_VERDICT = "verdict.json"

OnEvent = Callable[[dict[str, Any]], None]


def seed_of(base: int, case: Case, number: int) -> int:
    """The seed of the `number`-th attempt at a case: the same again from the same base, another for each."""
    return (base + crc32(f"{case.name} {number}".encode())) % 2**32


@dataclass(slots=True)
class Session:
    """One kept testbed and the runs on it."""

    runs_dir: Path
    profile: str
    kept: Kept
    clock: Clock = field(default_factory=SystemClock)
    _handle: RunHandle | None = None
    _stopped: bool = False
    _spoiled: str = ""

    async def run(self, case: Case, seed: int, on_event: OnEvent) -> Attempt:
        """One attempt at a case. Raises RunAborted after `stop`, and HealError when something stayed broken."""
        if self._stopped:
            raise RunAborted("interrupted")
        began_ns = self.clock.now_ns()
        if case.target == self._spoiled:
            self.kept.doubt()
        await self.kept.prepare()
        request = RunRequest(
            experiment=case.experiment,
            target=case.target,
            seed=seed,
            profile=self.profile,
            runs_dir=str(self.runs_dir),
            testbed=self.kept.name,
            keep=True,
            owner_pid=os.getpid(),
        )
        self._handle = await start(request, self.runs_dir / "conductor.log")
        try:
            if self._stopped:
                await self._handle.abort("interrupted")
            ending = await follow(self._handle, on_event)
        finally:
            handle, self._handle = self._handle, None
            await handle.close()
        return self._taken(ending, case, seed, (self.clock.now_ns() - began_ns) / SECOND)

    async def stop(self) -> None:
        """End the run under way, healed, and begin no other."""
        self._stopped = True
        if self._handle is not None:
            await self._handle.abort("interrupted")

    def _taken(self, ending: Ending, case: Case, seed: int, took_s: float) -> Attempt:
        if ending.exit is Exit.UNHEALED:
            self.kept.doubt()
            raise HealError(ending.error or "a run could not heal what it broke", remedy=ending.remedy or "chaosd heal")
        if self._stopped:
            raise RunAborted("interrupted")
        if ending.error or not ending.verdict or ending.run_dir is None:
            self.kept.doubt()
            return Attempt(run_id=ending.run_id, seed=seed, verdict="", took_s=round(took_s, 1), error=ending.error)
        # What a pipeline became in this run must not be what its next one begins with.
        self._spoiled = case.target if ending.verdict != Grade.PASS.name else ""
        file = ending.run_dir / _VERDICT
        return attempt(model.decode(file.read_bytes(), str(file)), took_s)


@asynccontextmanager
async def session(runs_dir: Path, profile: str) -> AsyncIterator[Session]:
    """A session with a testbed of its own, which is made by its first run. Raises HealError when it cannot be ended."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    kept = Kept(f"selftest-{os.getpid()}", EMBEDDED, runs_dir / "guard.log")
    await kept.open()
    keeping = asyncio.create_task(kept.keep(), name="guard")
    try:
        yield Session(runs_dir.absolute(), profile, kept)
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await kept.close()
