"""Takes a testbed for a run: an own one that ends with it, or a kept one that is used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chaosd.conductor import stacks
from chaosd.conductor.client import RunRequest
from chaosd.conductor.context import Emit
from chaosd.conductor.guards import Watchdog
from chaosd.conductor.turn import turn
from chaosd.experiment.spec import Experiment
from chaosd.healing.leases import Leases
from chaosd.journal.write import Facts
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError, PreflightError
from chaosd.kernel.finding import Confidence
from chaosd.preflight import cache
from chaosd.process import spawn
from chaosd.process.places import testbeds_dir
from chaosd.process.spawn import Handle
from chaosd.target import launch
from chaosd.testbed import record as records
from chaosd.testbed.testbed import PIPELINE, Testbed, announce, owner_of_this_process, tear_down

_TEAR_DOWN_S = 30.0


@asynccontextmanager
async def acquire(
    request: RunRequest, experiment: Experiment, run_id: str, run_dir: Path, facts: Facts, emit: Emit
) -> AsyncIterator[tuple[Testbed, Watchdog]]:
    """A testbed with its target started, under an armed watchdog. An own one ends with the run, whatever happens.

    A kept one is used by one run at a time: UsageError while there is another.
    """
    kept = _kept(request, experiment)
    directory = testbeds_dir() / (request.testbed if kept and request.testbed else run_id)
    async with AsyncExitStack() as stack:
        if kept:
            await stack.enter_async_context(turn(directory))
        yield await stack.enter_async_context(_acquire(request, experiment, run_id, directory, run_dir, facts, emit))


@asynccontextmanager
async def _acquire(
    request: RunRequest, experiment: Experiment, run_id: str, directory: Path, run_dir: Path, facts: Facts, emit: Emit
) -> AsyncIterator[tuple[Testbed, Watchdog]]:
    kept = _kept(request, experiment)
    fresh = not (directory / records.FILE).exists()
    asked = stacks.wanted(request, experiment.brokers)
    if fresh:
        stacks.refuse_what_it_lacks(experiment, asked.capabilities)
        announce(
            directory.name, provider=asked.provider, kept=kept, owner=_owner(request, kept=kept), extra=asked.extra
        )
    else:
        stacks.refuse_another(records.load(directory), asked)
        stacks.refuse_what_it_lacks(experiment, (await Testbed.open(directory)).stack.capabilities)
    # Until the stack is up, even a kept testbed is half made, and half made ones are removed.
    watchdog = Watchdog(
        {"run_dir": str(run_dir), "testbed": str(directory), "teardown": fresh, "run_id": run_id},
        facts,
        run_dir / "logs" / "watchdog.log",
    )
    half_made = fresh
    try:
        await watchdog.arm()
        text = "starting Redis, Kafka, PostgreSQL and Toxiproxy"
        emit({"event": "phase", "name": "stack", "text": text if asked.provider == stacks.EMBEDDED else "connecting"})
        testbed = await _open(request, experiment, directory, emit, fresh=fresh)
        if kept and fresh:
            await watchdog.rearm(teardown=False)
        half_made = False
        yield testbed, watchdog
    except BaseException:
        if half_made or not kept:
            await _tear_down(directory, emit, watchdog)
        raise
    else:
        if not kept:
            await _tear_down(directory, emit, watchdog)
    finally:
        if Leases().of_run(run_id):
            await watchdog.hand_over()
        else:
            await watchdog.disarm()


def _kept(request: RunRequest, experiment: Experiment) -> bool:
    """Whether the testbed outlives the run. What a surface keeps for all its runs has one broker: a cluster is made for
    its run alone.
    """
    if request.owner_pid is not None and experiment.brokers > 1:
        return False
    return request.keep or request.testbed is not None


def _owner(request: RunRequest, *, kept: bool) -> Handle | None:
    if kept and request.owner_pid is not None:
        return spawn.handle_of(request.owner_pid)
    return None if kept else owner_of_this_process()


async def _open(request: RunRequest, experiment: Experiment, directory: Path, emit: Emit, *, fresh: bool) -> Testbed:
    async with asyncio.TaskGroup() as group:
        checking = None if request.skip_preflight else group.create_task(_preflight(experiment))
        opening = group.create_task(_up(directory, emit) if fresh else Testbed.open(directory))
        testbed = await opening
        if checking is not None:
            await checking
    record = testbed.record
    running = [one for one in record.replicas if one.handle is not None and spawn.alive(one.handle)]
    pipeline = experiment.pipeline
    same = testbed.holds(pipeline) if pipeline is not None else PIPELINE not in record.extra
    if len(running) != experiment.replicas or record.target != experiment.target or not same:
        if record.target:
            await testbed.end_target()
        external = pipeline is not None and not pipeline.services
        doing = "making the topics of {}, which runs already" if external else "starting the target {}"
        emit({"event": "phase", "name": "target", "text": doing.format(experiment.target)})
        if pipeline is not None:
            await testbed.deploy_pipeline(pipeline)
        else:
            await testbed.deploy(experiment.target, experiment.replicas)
    return testbed


async def _up(directory: Path, emit: Emit) -> Testbed:
    started_ns = SystemClock().now_ns()
    testbed = await Testbed.up(
        directory, on_progress=lambda step, share: emit({"event": "progress", "step": step, "share": share})
    )
    took_s = (SystemClock().now_ns() - started_ns) / SECOND
    emit({"event": "note", "text": f"stack ready in {took_s:.1f} s"})
    return testbed


async def _preflight(experiment: Experiment) -> None:
    """Check the target's source before any traffic. Raises PreflightError for what would break the run."""
    pipeline = experiment.pipeline
    if pipeline is not None and not pipeline.source:
        return
    source = Path(pipeline.source) if pipeline is not None else launch.source(experiment.target)
    report = await asyncio.to_thread(cache.checked, source)
    blocking = [finding for finding in report.findings if finding.confidence is Confidence.HIGH]
    if blocking:
        raise PreflightError(
            f"the preflight found {len(blocking)} defects in {source}",
            detail="\n".join(f"{f.path}:{f.line}: {f.rule}: {f.message}" for f in blocking[:20]),
            remedy=f"mend them (`chaosd preflight {source}`), or run with --skip-preflight",
        )


async def _tear_down(directory: Path, emit: Emit, watchdog: Watchdog) -> None:
    try:
        if not records.servers_end_with(directory) and (left := Leases().on(directory)):
            # Servers of others stay broken when the testbed ends: its folder is needed until that is undone.
            raise HealError(f"{len(left)} faults are not undone")
        async with asyncio.timeout(_TEAR_DOWN_S):
            await tear_down(directory)
    except Exception as error:
        emit({"event": "note", "text": f"the testbed is not gone ({error}); the watchdog goes on"})
        await watchdog.hand_over()
        if directory.exists():
            raise HealError(f"the testbed {directory.name} is not gone: {error}", remedy="`chaosd heal`") from error
