"""Kill points: a conductor, its watchdog or both are killed at a random moment of a fault; what is left is measured.

Everything is watched from outside: /proc, Toxiproxy's own API, and the folder of leases. `draw` is seeded, so a point
that failed can be done again.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from live_run import facts, living

from chaosd.experiment.parse import all_bundled, load
from chaosd.faults.table import FAULTS, forms
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import MS, SECOND, SystemClock
from chaosd.kernel.errors import ChaosdError
from chaosd.process import spawn
from chaosd.stack.part import NotReady
from chaosd.testbed.testbed import Testbed

VICTIM = Path(__file__).with_name("kill_point_victim.py")
WHO = ("conductor", "watchdog", "both")
# The moment: so long after this fact of the conductor is on its disk. Between intent and injection it is tightest.
WHEN = ("watchdog_armed", "fault_planned", "fault_intended", "fault_injected", "heal_intended", "fault_healed")
WITHIN_NS = SECOND
_AFTER_MS = 40
_FOR_MS = (50, 400)
_CLEAN_S = 60.0
# A start takes longer at one time than at another; what was measured once is given so much more.
_SPREAD = 1.5
_MEASURED = 2
_LOOK_S = 0.004
# Of what a fault notes beforehand: a process that was started again is another one.
_CHANGES = ("pid", "started", "processes")
_CLOCK = SystemClock()
_TICK_NS = SECOND // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Breach:
    """A fault of the catalogue, as some bundled experiment writes it."""

    fault: str
    on: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """Who is killed, how long after which fact, while this is being done for `for_ms`."""

    number: int
    breach: Breach
    who: str
    when: str
    after_ms: float
    for_ms: int

    def __str__(self) -> str:
        where = f"{self.after_ms:.0f} ms after {self.when}"
        return f"{self.number}: {self.breach.fault} on {self.breach.on}, {self.who} killed {where}"


@dataclass(frozen=True, slots=True)
class Span:
    """What a process of a part takes, measured on this testbed, in ms: to end as the fault ends it, and to serve."""

    end: float
    start: float


@dataclass(slots=True)
class Outcome:
    """What was seen, in ms from the kill (from the call of `chaosd heal` where both were killed).

    `begun_ms`: when the watchdog, or `chaosd heal`, began its undo; None where nothing had to be undone. `clear_ms`: no
    toxic and no pause from there on. `started_ms`: when the process that replaces an ended one began. `whole_ms`: when
    every part served.
    """

    begun_ms: float | None = None
    clear_ms: float | None = None
    started_ms: float | None = None
    whole_ms: float | None = None
    problems: list[str] = field(default_factory=list)


async def catalogue(bed: Testbed) -> list[Breach]:
    """Every fault that bundled experiments do and this testbed can have now, each way of it once."""
    able, found = bed.stack.capabilities, dict[str, Breach]()
    for name in all_bundled():
        for step in load(name, forms()).timeline:
            breach = Breach(step.fault, step.on, step.params.model_dump(mode="json"))
            fault = FAULTS.get(step.fault)
            if fault is None:  # an overlay of the traffic: nothing is broken, so there is no lease
                continue
            with suppress(ChaosdError):
                if fault.needs in able and bed.handle(step.on) is not None:
                    await fault.prepare(bed, step.on, step.params)
                    found[json.dumps([breach.fault, breach.on, breach.params], sort_keys=True)] = breach
    return [found[key] for key in sorted(found)]


async def spans(bed: Testbed, breaches: Sequence[Breach]) -> dict[str, Span]:
    """What ending and starting each process takes that some fault ends and its undo starts: the longest of all times,
    two for each such fault.
    """
    found: dict[str, Span] = {}
    for breach in breaches:
        fault, on = FAULTS[breach.fault], breach.on
        for _ in range(_MEASURED if fault.starts else 0):
            params = fault.params.model_validate(breach.params)
            memo = await fault.prepare(bed, breach.on, params)
            called_ns = _CLOCK.now_ns()
            await fault.inject(bed, breach.on, params, memo, "measured")
            ended_ns = _CLOCK.now_ns()
            cleared = await fault.undo(bed, breach.on, params, memo, "measured")
            end, start = (ended_ns - called_ns) / MS, (cleared.high_ns - ended_ns) / MS
            longest = found.get(on, Span(0.0, 0.0))
            found[on] = Span(max(longest.end, end), max(longest.start, start))
    return found


def draw(seed: int, count: int, breaches: Sequence[Breach]) -> Iterator[Point]:
    """`count` points; every fault comes once before one comes twice."""
    rng, left = random.Random(seed), list[Breach]()
    for number in range(count):
        if not left:
            left = rng.sample(breaches, len(breaches))
        yield Point(
            number,
            left.pop(),
            who=rng.choice(WHO),
            when=rng.choice(WHEN),
            after_ms=rng.uniform(0, _AFTER_MS),
            for_ms=rng.randint(*_FOR_MS),
        )


class KillPoint:
    """One point on a testbed that stays. CHAOSD_STATE must be set to a folder that nothing else uses."""

    def __init__(self, bed: Testbed, folder: Path, point: Point) -> None:
        self._bed = bed
        self._point = point
        self._run_dir = folder / f"point-{point.number}"
        self._run_dir.mkdir()
        self._before = {name: bed.handle(name) for name in self._names()}
        self._killed_ns = 0
        self.outcome = Outcome()

    def _names(self) -> list[str]:
        return [*self._bed.stack.record.parts, *(replica.name for replica in self._bed.record.replicas)]

    async def run(self) -> Outcome:
        """Do it, and tell what was seen. Problems are told, not raised."""
        memo = await self._memo()
        with (self._run_dir / "victim.log").open("wb") as log:
            victim = await asyncio.create_subprocess_exec(
                sys.executable, str(VICTIM), json.dumps(self._order()),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            await self._kill(victim)
            await self._watch()
            if self._point.who == "watchdog":
                async with asyncio.timeout(_CLEAN_S):
                    await victim.wait()
            await self._nothing_left()
            if not self.outcome.problems and (now := await self._memo()) != memo:
                self.outcome.problems.append(f"not as before: {memo} is {now}")
        finally:
            if victim.returncode is None:
                victim.kill()
            await victim.wait()
        return self.outcome

    def _order(self) -> dict[str, Any]:
        breach = self._point.breach
        return {
            "testbed": str(self._bed.directory), "run_dir": str(self._run_dir), "run_id": self._run_dir.name,
            "teardown": False, "fault": breach.fault, "on": breach.on, "params": breach.params,
            "for_ms": self._point.for_ms, "starts_in_ms": 0,
        }  # fmt: skip

    async def _memo(self) -> dict[str, Any]:
        """What the fault itself reads before it breaks anything: afterwards it must read the same."""
        breach = self._point.breach
        fault = FAULTS[breach.fault]
        read = await fault.prepare(self._bed, breach.on, fault.params.model_validate(breach.params))
        return {key: value for key, value in read.items() if key not in _CHANGES}

    async def _kill(self, victim: asyncio.subprocess.Process) -> None:
        point = self._point
        deadline_s = time.monotonic() + _CLEAN_S
        while not facts(self._run_dir, kind=point.when):
            if victim.returncode is not None or time.monotonic() > deadline_s:
                self.outcome.problems.append(f"the victim ended without {point.when}")
                return
            await asyncio.sleep(0.001)
        await asyncio.sleep(point.after_ms / 1000)
        guard = facts(self._run_dir, kind="watchdog_armed")[0]["pid"]
        self._killed_ns = _CLOCK.now_ns()
        if point.who in ("conductor", "both"):
            with suppress(ProcessLookupError):
                victim.kill()
        if point.who in ("watchdog", "both"):
            with suppress(ProcessLookupError):
                os.kill(guard, signal.SIGKILL)
        if point.who == "both":
            self._killed_ns = _CLOCK.now_ns()
            await self._heal()

    async def _heal(self) -> None:
        """`chaosd heal` as a command; not waited for here."""
        with (self._run_dir / "heal.log").open("wb") as log:
            self._healing = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "chaosd", "heal", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _watch(self) -> None:
        """Look until everything is whole for good; note when it became so."""
        deadline_s = time.monotonic() + _CLEAN_S
        if self._point.who == "both":
            watching = asyncio.create_task(self._clear())
            try:
                async with asyncio.timeout(_CLEAN_S):
                    code = await self._healing.wait()
            except TimeoutError:
                self.outcome.problems.append(f"`chaosd heal` has not ended after {_CLEAN_S:g} s")
                self._healing.kill()
                code = await self._healing.wait()
            await asyncio.wait({watching})
            if code != 0:
                said = (self._run_dir / "heal.log").read_text(encoding="utf-8")
                self.outcome.problems.append(f"`chaosd heal` ended with {code}: {said.strip()}")
        else:
            await self._clear()
        while left := await self._broken():
            if time.monotonic() > deadline_s:
                self.outcome.problems.append("still broken: " + ", ".join(left))
                return
            await asyncio.sleep(0.02)
        self.outcome.whole_ms = self._since()

    async def _clear(self) -> None:
        """Until no lease is open: when the last toxic and the last pause were gone."""
        deadline_s = time.monotonic() + _CLEAN_S
        dirty = False
        while time.monotonic() < deadline_s:
            self._note_heal()
            open_leases = bool(Leases().all())
            soiled = bool(self._paused() or await asyncio.to_thread(self._toxics))
            if soiled:
                dirty, self.outcome.clear_ms = True, None
            elif dirty and self.outcome.clear_ms is None:
                self.outcome.clear_ms = self._since()
            if not open_leases and not soiled:
                break
            await asyncio.sleep(_LOOK_S)
        self._note_start()

    def _note_heal(self) -> None:
        """`chaosd heal` says what it undoes, before it does."""
        if self._point.who == "both" and self.outcome.begun_ms is None:
            said = (self._run_dir / "heal.log").read_text(encoding="utf-8")
            self.outcome.begun_ms = self._since() if "healing: " in said else None

    def _note_start(self) -> None:
        undone = facts(self._run_dir, "watchdog", "lease_undone")
        if undone and self._point.who == "conductor":
            self.outcome.begun_ms = (undone[0]["call_ns"] - self._killed_ns) / MS
        for name, before in self._before.items():
            now = self._bed.handle(name)
            if now is not None and now != before and spawn.alive(now):
                # Ticks of 10 ms since the boot; the two clocks differ by the time the machine slept.
                slept_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                began_ns = now.started * _TICK_NS - slept_ns
                if began_ns > self._killed_ns:
                    self.outcome.started_ms = (began_ns - self._killed_ns) / MS

    def _since(self) -> float:
        return (_CLOCK.now_ns() - self._killed_ns) / MS

    def _paused(self) -> list[str]:
        found = []
        for name in self._names():
            handle = self._bed.handle(name)
            if handle is not None and any(spawn.state(one) == "T" for one in spawn.tree(handle)):
                found.append(f"{name} is stopped")
        return found

    def _toxics(self) -> list[str]:
        """Toxics and closed proxies; nothing where Toxiproxy itself does not answer: then it has none to speak of."""
        address = self._bed.stack.part("toxiproxy").address
        connection = http.client.HTTPConnection(address.host, address.port, timeout=0.5)
        try:
            connection.request("GET", "/proxies")
            told = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return []
        finally:
            connection.close()
        names = [f"{name} has {toxic['name']}" for name, proxy in told.items() for toxic in proxy["toxics"]]
        return names + [f"{name} is closed" for name, proxy in told.items() if not proxy["enabled"]]

    async def _broken(self) -> list[str]:
        """Everything that is not as it should be, a part that does not serve included."""
        found = [*self._paused(), *await asyncio.to_thread(self._toxics)]
        for name in self._names():
            handle = self._bed.handle(name)
            if handle is None or not spawn.alive(handle):
                found.append(f"{name} does not run")
                continue
            if name not in self._bed.stack.record.parts:
                continue
            try:
                async with asyncio.timeout(2):
                    await self._bed.stack.ready(name)
            except (NotReady, OSError, TimeoutError) as error:
                found.append(f"{name} does not serve ({error})")
        missing = {proxy.name for proxy in self._bed.stack.proxies()}
        with suppress(Exception):
            missing -= set(await self._bed.stack.toxiproxy.list())
        return found + [f"the proxy {name} is missing" for name in sorted(missing)]

    async def _nothing_left(self) -> None:
        state = Path(os.environ["CHAOSD_STATE"])
        deadline_s = time.monotonic() + _CLEAN_S
        while left := [*living(state), *map(str, (state / "leases").glob("*")), *self._strangers()]:
            if time.monotonic() > deadline_s:
                self.outcome.problems.append("left behind: " + "; ".join(left))
                return
            await asyncio.sleep(0.02)
        if self._point.who == "watchdog" and not facts(self._run_dir, kind="run_ended"):
            self.outcome.problems.append("the conductor did not go on without its watchdog")

    def _strangers(self) -> list[str]:
        """Processes of the testbed that no record knows: a part that was started twice."""
        known = {one for name in self._names() if (handle := self._bed.handle(name)) for one in spawn.tree(handle)}
        return [f"process {one.pid}" for one in spawn.marked(self._bed.record.marker) if one not in known]


def late(point: Point, outcome: Outcome, measured: Mapping[str, Span]) -> list[str]:
    """Which promises of time were not kept. A surviving conductor heals at its own time: nothing is promised then.

    Every undo begins within a second, and toxics and pauses are gone within it. A process that the fault ends cannot
    be replaced before it is gone: a new one begins within a second and what ending takes, and serves when it has
    started, both as `measured` on this testbed. Nothing is killed to be quicker: in good order it comes back sooner.
    """
    if point.who == "watchdog":
        return []
    second = WITHIN_NS / MS
    promised = {"undo begun": (outcome.begun_ms, second), "clear": (outcome.clear_ms, second)}
    span = measured.get(point.breach.on) if FAULTS[point.breach.fault].starts else None
    if span is None:
        promised["restarted"] = (outcome.started_ms, second)
    elif outcome.started_ms is not None:
        gone = second + _SPREAD * span.end
        promised["restarted"] = (outcome.started_ms, gone)
        promised["serving"] = (outcome.whole_ms, gone + _SPREAD * span.start)
    return [
        f"{what} after {ms:.0f} ms, not within {most:.0f}"
        for what, (ms, most) in promised.items()
        if ms is not None and ms > most
    ]
