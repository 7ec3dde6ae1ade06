"""A kept testbed for judged runs, and what a run left: for tests that ask what the judge says."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from live_run import LiveRun, kept_testbed

from chaosd.kernel.verdict import Grade
from chaosd.testbed.testbed import Testbed

_NAME = "real-runs"
# What a machine under load does to a measurement. A run that ends undecided for nothing else may be tried once more.
MACHINE = ("baseline_too_slow", "baseline_unstable", "judge_stalled", "generator_late", "not_decided", "too_short")
# A busy machine starts a broker ten times slower, and what was slow must be quiet for as long before it is judged.
_RUN_S = 180
_PATIENCE_S = 45
# The lowest rate at which a baseline of two seconds is long enough; at half of it four seconds are.
FULL_RATE_HZ = 1000
# Enough to be judged by, of whom only the verdict is asked; with the profile quick.
LOW_RATE_HZ = 200
EXPERIMENT = """\
chaosd: 1
title: {title}
target: {target}
traffic: {{rate: {rate}/s, streams: 4, poison: 2%}}
phases: {{warmup: 300ms, baseline: 2s, hold: 500ms}}
timeline: [{timeline}]
expect: {{recovery: {{within: {within}}}}}
"""


@dataclass(frozen=True)
class Ran:
    """A run that is over: what it left and what it said. `first` is the try before it, if there was one, or itself."""

    folder: Path
    first: Path
    code: int
    verdict: dict[str, Any]

    @property
    def word(self) -> str:
        return self.verdict["verdict"]

    @property
    def reasons(self) -> set[str]:
        """Without those that name only this machine."""
        return {reason for reason in self.verdict["reasons"] if not reason.endswith(MACHINE)}

    @property
    def undecided(self) -> bool:
        return self.word == Grade.INCONCLUSIVE.name and not self.reasons

    def fault(self, name: str) -> dict[str, Any]:
        return next(fault for fault in self.verdict["faults"] if fault["id"] == name)


@dataclass(frozen=True)
class Place:
    """The kept testbed and where its runs go."""

    folder: Path
    testbed: Testbed

    async def run(
        self,
        *steps: str,
        target: str = "reference",
        within: str = "2s",
        rate_hz: int = FULL_RATE_HZ // 2,
        profile: str = "standard",
        meanwhile: Callable[[LiveRun], Awaitable[None]] | None = None,
    ) -> Ran:
        """A run to its end; `meanwhile` goes beside it."""
        title = f"{target}, {len(steps)} faults"
        text = EXPERIMENT.format(title=title, target=target, timeline=", ".join(steps), within=within, rate=rate_hz)
        file = self.folder / "real.yaml"
        file.write_text(text, encoding="utf-8")
        return await self.carry_out(file, meanwhile, profile)

    async def carry_out(
        self,
        file: Path,
        meanwhile: Callable[[LiveRun], Awaitable[None]] | None = None,
        profile: str = "standard",
    ) -> Ran:
        """Once more when only the machine was in its way, unless it was so busy that this would be in vain."""
        began = time.monotonic()
        ran = await self._once(file, meanwhile, profile)
        if ran.undecided and time.monotonic() - began < _PATIENCE_S:
            print(f"{ran.folder.name}: only the machine was in its way: {ran.verdict['reasons']}")
            ran = replace(await self._once(file, meanwhile, profile), first=ran.folder)
        print(f"{ran.folder.name}: {ran.word} {ran.verdict['reasons']}")
        return ran

    async def _once(self, file: Path, meanwhile: Callable[[LiveRun], Awaitable[None]] | None, profile: str) -> Ran:
        run = await LiveRun.begin(
            self.folder, str(file), profile=profile, testbed=_NAME, keep=True, owner_pid=os.getpid()
        )
        try:
            async with asyncio.timeout(_RUN_S), asyncio.TaskGroup() as group:
                group.create_task(run.listen())
                if meanwhile is not None:
                    group.create_task(meanwhile(run))
        finally:
            await run.handle.close()
        log = (self.folder / "conductor.log").read_text()
        assert run.said("verdict") is not None, (run.events[-3:], log[-2000:])
        verdict = json.loads((run.run_dir / "verdict.json").read_text())
        return Ran(run.run_dir, run.run_dir, run.handle.code, verdict)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Place]:
    """The testbed, until the block ends."""
    async with kept_testbed(_NAME, folder) as testbed:
        yield Place(folder, testbed)
