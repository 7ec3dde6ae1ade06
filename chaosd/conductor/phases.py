"""The way of one run's traffic: warm-up with a capacity burst, baseline, faults under load, heal, hold."""

from __future__ import annotations

import asyncio

from chaosd.conductor.context import Context
from chaosd.conductor.guards import Stop
from chaosd.conductor.injections import Injections
from chaosd.conductor.instruments import Instruments
from chaosd.conductor.traffic import LEAD_NS, PIECE_NS, Schedule
from chaosd.kernel.clock import SECOND

# The burst offers this many times the experiment's rate for about a second: C is what comes out per second.
_BURST_FACTOR = 4
_BURST_LEAST = 1000
_BURST_RATE_HZ = 5000.0
_RESOLVED_DEADLINE_NS = 20 * SECOND
# The heal's upper edge and the last envelope due before the end must both be well inside the observation.
_MARGIN_NS = SECOND // 2
_STEP_S = 0.02
# Where the baseline of an earlier run is used, this much is measured to see that it is still true.
_RECHECK_NS = 2 * SECOND
_REWARM_NS = SECOND // 2
# Between baseline and timeline: what was due in the baseline must be out before the first fault can delay it.
_SETTLE_NS = SECOND // 2


async def warm_up(context: Context, instruments: Instruments, schedule: Schedule, *, known: bool) -> None:
    """Warm every path up, then measure what the pipeline can take, and let it drain.

    A pipeline whose baseline is `known` is warm already.
    """
    experiment = context.experiment
    lasts_ns = _REWARM_NS if known else experiment.phases.warmup_ns
    context.phase("warmup", "warming the pipeline up", lasts_ns)
    await schedule.steady("warmup", lasts_ns)
    await _sleep_until(context, schedule.end_ns)
    await _resolved(context, instruments, schedule)
    if known:
        return
    context.phase("burst", "a short burst measures the pipeline's capacity")
    count = max(_BURST_LEAST, round(experiment.traffic.rate_hz * _BURST_FACTOR / 2))
    await schedule.burst(count, max(_BURST_RATE_HZ, experiment.traffic.rate_hz * _BURST_FACTOR))
    await _sleep_until(context, schedule.end_ns)
    await _resolved(context, instruments, schedule)


async def measure(
    context: Context,
    instruments: Instruments,
    schedule: Schedule,
    injections: Injections,
    stop: Stop,
    *,
    known: bool,
) -> None:
    """Baseline, the whole timeline, and the time after the last heal that recovery needs to be judged."""
    experiment = context.experiment
    lasts_ns = min(_RECHECK_NS, experiment.phases.baseline_ns) if known else experiment.phases.baseline_ns
    what = "seeing that the known baseline is still true" if known else "measuring how the pipeline is without a fault"
    context.phase("baseline", what, lasts_ns)
    baseline = await schedule.steady("baseline", lasts_ns)
    await schedule.steady("faults", _SETTLE_NS)
    origin_ns = schedule.end_ns
    injections.plan(experiment.faults, origin_ns)
    schedule.overlays.plan(experiment.overlays, origin_ns)
    # Inside the baseline: evidence from before it counts for nothing.
    await _sleep_until(context, baseline.start_ns)
    injections.measure_before()
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(_feed(context, schedule), name="feed")
        breaking = group.create_task(injections.carry_out(), name="timeline")
        await _sleep_until(context, origin_ns)
        names = ", ".join(f"{step.fault} on {step.on}" for step in experiment.timeline)
        lasts_ns = max((step.at_ns + step.for_ns for step in experiment.timeline), default=0)
        context.phase("faults", names or "no fault: the control", lasts_ns)
        await breaking
        await _sleep_until(context, schedule.overlays.until_ns)
        after_ns = (
            max(injections.clear_high_ns, schedule.overlays.until_ns, origin_ns) + experiment.observe_ns + _MARGIN_NS
        )
        context.phase("hold", "healed; watching the recovery", after_ns - context.clock.now_ns())
        while context.clock.now_ns() < after_ns and not stop.is_set():
            await asyncio.sleep(_STEP_S)
        feeding.cancel()
    await _sleep_until(context, schedule.end_ns)


async def _feed(context: Context, schedule: Schedule) -> None:
    """Keep the schedule ahead of the clock, without a gap, until cancelled."""
    while True:
        await _sleep_until(context, schedule.end_ns - 3 * LEAD_NS)
        await schedule.steady("faults", PIECE_NS)


async def _resolved(context: Context, instruments: Instruments, schedule: Schedule) -> None:
    """Wait until every envelope sent so far has its result; the drain will say so if it never does."""
    deadline_ns = context.clock.now_ns() + _RESOLVED_DEADLINE_NS
    while context.clock.now_ns() < deadline_ns:
        state = instruments.tap.last
        if state.get("due_unresolved") == 0 and state.get("resolved", 0) >= schedule.envelopes:
            return
        await asyncio.sleep(_STEP_S)
    context.note("the pipeline has not caught up with the warm-up: expect an unstable baseline")


async def _sleep_until(context: Context, at_ns: int) -> None:
    await asyncio.sleep(max(0.0, (at_ns - context.clock.now_ns()) / SECOND))
