"""Carries out one injection on a real stack as the conductor does it, and has the judge say what it proves."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
from collections.abc import Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import numpy as np

from chaosd.faults.fault import Fault, Force
from chaosd.faults.table import FAULTS
from chaosd.journal.columns import CANARIES, EXPOSURE, GAUGES, RESOURCES, Path, Probe, ProbeOutcome
from chaosd.journal.model import InjectionFacts, RunFacts
from chaosd.kernel.clock import MS, SECOND, SystemClock
from chaosd.testbed.canary import Asked, Canaries, asked_by
from chaosd.testbed.gauges import Meters
from chaosd.testbed.testbed import PARTS, PROCESSES, Testbed
from chaosd.testbed.usage import Usage
from chaosd.verification.exposure import Evidence, FaultVerdict, judge_fault

CLOCK = SystemClock()
_numbers = itertools.count()
# A baseline of a second holds few pings, and each that the machine held up is all of its noise: then it is had again.
_BASELINES, _LATE_NS = 6, 50 * MS


class Watch:
    """Canaries and samples, as the conductor runs them."""

    def __init__(self, bed: Testbed) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.resources: list[np.ndarray] = []
        self.exposure: list[np.ndarray] = []
        self.told: list[tuple[int, ...]] = []
        self.canaries = Canaries(bed, CLOCK, self.rows.append)
        self.meters = Meters(bed, CLOCK, self.told.append)
        self._usage = Usage(bed, CLOCK)

    async def sample(self) -> None:
        while True:
            exposure, resources = await asyncio.to_thread(self._usage.sample)
            self.exposure.append(exposure)
            self.resources.append(resources)
            await asyncio.sleep(0.2)

    def edge(self) -> None:
        self.canaries.edge()
        self.meters.edge()

    def evidence(self) -> Evidence:
        return Evidence(
            np.array(self.rows, CANARIES.dtype),
            np.concatenate([np.zeros(0, EXPOSURE.dtype), *self.exposure]),
            np.concatenate([np.zeros(0, RESOURCES.dtype), *self.resources]),
            np.array(self.told, GAUGES.dtype),
        )

    async def baseline(self, asked: Iterable[Asked]) -> int:
        """When a baseline began that was quiet, or the last one that could be had."""
        for _ in range(_BASELINES):
            started_ns = CLOCK.now_ns()
            for one in asked:
                self.canaries.few(one)
            await asyncio.sleep(0.5)
            self.edge()
            await asyncio.sleep(1.0)
            if self._quiet_since(started_ns):
                break
        return started_ns

    def _quiet_since(self, from_ns: int) -> bool:
        """Whether no ping through the proxies was late since then: one such hides a small fault, as the judge says."""
        taken: dict[int, list[int]] = {}
        for on, path, probe, sent_ns, done_ns, *_ in self.rows:
            if path == Path.PROXIED and probe == Probe.PING and sent_ns >= from_ns:
                taken.setdefault(on, []).append(done_ns - sent_ns)
        return all(max(times) - np.median(times) < _LATE_NS for times in taken.values())

    def outcomes(self, part: str, path: Path) -> set[ProbeOutcome]:
        return {
            ProbeOutcome(row[5])
            for row in self.rows
            if row[0] == PARTS.index(part) and row[1] == path and row[2] <= Probe.CONNECT
        }


@asynccontextmanager
async def watching(bed: Testbed):
    watch = Watch(bed)
    tasks = [asyncio.create_task(work) for work in (watch.canaries.run(), watch.meters.run(), watch.sample())]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()


def run_facts(injection: InjectionFacts, started_ns: int, gauges: tuple[str, ...] = ()) -> RunFacts:
    return RunFacts(
        run_id="r", run_tag=1, seed=1, profile="quick", sealed=True, hash="", torn=(), missing=(), expect=None,
        limit_ns=5 * SECOND, hold_ns=SECOND, started_ns=started_ns, ended_ns=CLOCK.now_ns(), aborted=None, segments=(),
        topics=(), parts=PARTS, processes=PROCESSES, injections=(injection,),
        gauges=gauges,
    )  # fmt: skip


async def break_and_mend(bed: Testbed, name: str, ons: tuple[str, ...], words: dict[str, str], for_s: float):
    """The same injection on several things, as the conductor does it: the judge's words by thing, what was watched."""
    fault, tag = FAULTS[name], f"chaosd-test-{next(_numbers)}"
    params = fault.params.model_validate(words)
    bites = {asked for on in ons for proof in fault.bite(on, params) for asked in asked_by(proof)}
    heals = {asked for on in ons for proof in fault.healed(on, params) for asked in asked_by(proof)}
    memos, times, cleared = {}, {}, {}
    async with watching(bed) as watch:
        titles = watch.meters.watch(gauges for on in ons for gauges in fault.gauges(on, params))
        started_ns = await watch.baseline(bites | heals)
        for on in ons:
            memos[on] = await fault.prepare(bed, on, params)
            watch.edge()
            call_ns = CLOCK.now_ns()
            await fault.inject(bed, on, params, memos[on], tag)
            times[on] = (call_ns, CLOCK.now_ns())
        for asked in bites:
            watch.canaries.begin(asked)
        await in_force(bed, fault, params, memos, tag, for_s)
        for asked in bites:
            watch.canaries.end(asked)
        end = fault.let_go or fault.undo
        for on in ons:
            watch.edge()
            cleared[on] = await end(bed, on, params, memos[on], tag)
            again = await end(bed, on, params, memos[on], tag)
            assert again.high_ns >= cleared[on].high_ns
        for asked in heals:
            watch.canaries.few(asked)
        watch.edge()
        await asyncio.sleep(0.8)
        watch.edge()
        await asyncio.sleep(1.0)
    verdicts = {}
    for on in ons:
        if fault.let_go is not None:
            await fault.undo(bed, on, params, memos[on], tag)
        injection = InjectionFacts(
            "i", name, on, words, times[on][0], int(for_s * SECOND), fault.bite(on, params), fault.healed(on, params),
            (), *times[on], cleared[on].low_ns, cleared[on].high_ns, "conductor", "healed",
        )  # fmt: skip
        verdicts[on] = judge_fault(run_facts(injection, started_ns, titles), watch.evidence(), injection)
    return verdicts, watch, cleared


async def in_turn(
    bed: Testbed, steps: list[tuple[str, str, dict]], for_s: float
) -> tuple[dict[str, FaultVerdict], Watch]:
    """One fault after the other under one watch; the judge's words by name, and what was watched."""
    faults = [(FAULTS[name], on, FAULTS[name].params.model_validate(words)) for name, on, words in steps]
    done: list[InjectionFacts] = []
    async with watching(bed) as watch:
        started_ns = CLOCK.now_ns()
        titles = watch.meters.watch(gauges for fault, on, params in faults for gauges in fault.gauges(on, params))
        await asyncio.sleep(0.2)
        watch.edge()
        await asyncio.sleep(1.0)
        for fault, on, params in faults:
            tag = f"chaosd-test-{next(_numbers)}"
            memo = await fault.prepare(bed, on, params)
            watch.edge()
            call_ns = CLOCK.now_ns()
            await fault.inject(bed, on, params, memo, tag)
            returned_ns = CLOCK.now_ns()
            await asyncio.sleep(for_s)
            watch.edge()
            cleared = await fault.undo(bed, on, params, memo, tag)
            again = await fault.undo(bed, on, params, memo, tag)
            assert again.high_ns >= cleared.high_ns
            # As in a run: the next one has its edge a second before it.
            await asyncio.sleep(0.4)
            watch.edge()
            await asyncio.sleep(1.0)
            done.append(
                InjectionFacts(
                    fault.name, fault.name, on, {}, call_ns, int(for_s * SECOND), fault.bite(on, params),
                    fault.healed(on, params), (), call_ns, returned_ns, cleared.low_ns, cleared.high_ns, "conductor",
                    "healed",
                )
            )  # fmt: skip
    run = replace(run_facts(done[0], started_ns, titles), injections=tuple(done))
    return {one.fault: judge_fault(run, watch.evidence(), one) for one in done}, watch


async def in_force(bed: Testbed, fault: Fault, params, memos: dict[str, dict], tag: str, for_s: float) -> None:
    """Let the window pass, with the fault driven on every part if it is one of those that are."""
    force = Force(random.Random(1), round(for_s * SECOND))
    with suppress(TimeoutError):
        async with asyncio.timeout(for_s), asyncio.TaskGroup() as group:
            for on in memos if fault.during else ():
                group.create_task(fault.during(bed, on, params, memos[on], tag, force))
            await asyncio.sleep(for_s + 1)


# Injects in a process of its own and then hangs, as a conductor may; it says so by a line.
HOLDER = """
import asyncio, json, sys
from pathlib import Path
from chaosd.faults.table import FAULTS
from chaosd.testbed.session import RedisError
from chaosd.testbed.testbed import Testbed

async def main():
    bed = await Testbed.open(Path(sys.argv[1]))
    fault = FAULTS[sys.argv[2]]
    on, memo = sys.argv[3], json.loads(sys.argv[4])
    await fault.inject(bed, on, fault.params.model_validate(json.loads(sys.argv[5])), memo, "t-elsewhere")
    print("injected", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def elsewhere(bed: Testbed, name: str, on: str, memo: dict, words: dict) -> asyncio.subprocess.Process:
    """A process that has injected with the tag `t-elsewhere` and hangs."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(bed.directory), name, on, json.dumps(memo), json.dumps(words),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(20):
        assert await holder.stdout.readline() == b"injected\n"
    return holder
