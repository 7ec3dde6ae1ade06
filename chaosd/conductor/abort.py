"""Watches what an experiment says under `abort_when`, from the first envelope to the end of the traffic.

The first guard that speaks ends the run: everything is healed, the journal says which guard it was and what it saw, and
the exit code is 5. A probe that cannot be asked has failed: whoever wrote it wanted to know.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from chaosd.conductor.context import Context
from chaosd.conductor.guards import Stop
from chaosd.conductor.instruments import Instruments
from chaosd.experiment.guards import ErrorRate, Guards, Probe
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.errors import StackError
from chaosd.kernel.units import format_duration
from chaosd.process import spawn

_LOOK_S = 0.2
# Fewer results than that have no rate worth the name.
_RESULTS_MIN = 20
_OUTPUT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """What the guards look at: of the tap, results and unplanned errors so far, and the age of the oldest due one."""

    t_ns: int
    age_ms: float
    results: int
    errors: int
    target_rss_bytes: int


class Limits:
    """The guards that need no program. `exceeded` is asked a few times a second and remembers the past it needs."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._past: deque[Seen] = deque()

    def exceeded(self, seen: Seen) -> str:
        """Which limit is exceeded and by what, in words; empty while none is."""
        guards = self._guards
        if guards.age_ns is not None and seen.age_ms * MS > guards.age_ns:
            allowed = format_duration(guards.age_ns)
            return f"abort_when.age: the oldest due envelope is {seen.age_ms / 1e3:.1f} s old, the limit is {allowed}"
        if guards.target_rss_bytes is not None and seen.target_rss_bytes > guards.target_rss_bytes:
            used, limit = (size / 1e6 for size in (seen.target_rss_bytes, guards.target_rss_bytes))
            return f"abort_when.target_rss: the target uses {used:.0f} MB, the limit is {limit:g} MB"
        return self._errors(guards.error_rate, seen) if guards.error_rate is not None else ""

    def _errors(self, rate: ErrorRate, seen: Seen) -> str:
        self._past.append(seen)
        while len(self._past) > 1 and self._past[1].t_ns <= seen.t_ns - rate.over_ns:
            self._past.popleft()
        first = self._past[0]
        results, errors = seen.results - first.results, seen.errors - first.errors
        if results < _RESULTS_MIN or errors <= rate.above * results:
            return ""
        return (
            f"abort_when.error_rate: {errors} of the last {results} results are unplanned errors "
            f"({100 * errors / results:.0f}%), the limit is {100 * rate.above:g}%"
        )


@asynccontextmanager
async def guarding(context: Context, instruments: Instruments, stop: Stop) -> AsyncIterator[None]:
    """Watch the experiment's guards inside the block; the first that speaks calls `stop`."""
    guards = context.experiment.abort_when

    def end(guard: str, why: str) -> None:
        if not stop.is_set():
            context.facts.append("guard_tripped", durable=True, guard=guard, why=why)
        stop.set(why)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_limits(context, instruments, end), name="limits")] if guards else []
        for number, probe in enumerate(guards.probes):
            tasks.append(group.create_task(_ask(context, number, probe, end), name=f"probe {number}"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _limits(context: Context, instruments: Instruments, end: Any) -> None:
    limits = Limits(context.experiment.abort_when)
    while True:
        tap = instruments.tap.last
        seen = Seen(
            t_ns=context.clock.now_ns(),
            age_ms=float(tap.get("age_ms", 0.0)),
            results=int(tap.get("resolved", 0)),
            errors=int(tap.get("unplanned_errors", 0)),
            target_rss_bytes=instruments.target_rss_bytes,
        )
        if why := limits.exceeded(seen):
            end(why.partition(":")[0], why)
            return
        await asyncio.sleep(_LOOK_S)


async def _ask(context: Context, number: int, probe: Probe, end: Any) -> None:
    recipe = spawn.Recipe(
        argv=probe.command,
        env=dict(os.environ),
        cwd=os.getcwd(),  # noqa: PTH109 -- a relative path in it is one of whoever started the run
        log=str(context.run_dir / "logs" / f"probe-{number}.log"),
    )
    failed = 0
    while True:
        # With the testbed's mark: a probe that runs when we die is ended with the testbed.
        why = await asyncio.to_thread(once, recipe, probe.timeout_ns / SECOND, context.testbed.record.marker)
        failed = failed + 1 if why else 0
        if failed >= probe.failures:
            times = f" {failed} times in a row" if failed > 1 else ""
            end("abort_when.probes", f"abort_when.probes[{number}]: `{' '.join(probe.command)}` failed{times}: {why}")
            return
        await asyncio.sleep(probe.every_ns / SECOND)


def once(recipe: spawn.Recipe, timeout_s: float, marker: str) -> str:
    """Why a probe failed, empty when it said yes. Blocks for at most `timeout_s`."""
    try:
        ended = spawn.run(recipe, timeout_s, marker)
    except StackError as error:
        return error.message
    if ended.code == 0:
        return ""
    said = " ".join(ended.output.split())[-_OUTPUT_CHARS:]
    return f"exit code {ended.code}" + (f", {said}" if said else "")
