"""One run, from the armed watchdog to the sealed journal and the judge's word."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from msgspec import to_builtins

import chaosd
from chaosd.conductor import operator, phases
from chaosd.conductor.abort import guarding
from chaosd.conductor.baselines import Baselines
from chaosd.conductor.bench import acquire
from chaosd.conductor.client import RunRequest
from chaosd.conductor.context import Context, Emit
from chaosd.conductor.drain import LIMIT_NS, drain
from chaosd.conductor.guards import Stop, Watchdog, first_of
from chaosd.conductor.injections import Injections
from chaosd.conductor.instruments import Instruments
from chaosd.conductor.restarts import keep_up
from chaosd.conductor.stacks import wanted
from chaosd.conductor.ticker import tick
from chaosd.conductor.traffic import Schedule
from chaosd.envelope.identity import RUN_TAG_BITS
from chaosd.experiment import fitting, target_file
from chaosd.experiment.parse import load
from chaosd.experiment.spec import Experiment
from chaosd.faults.table import forms
from chaosd.healing.halt import refuse_when_halted
from chaosd.healing.leases import Leases
from chaosd.healing.recover import recover
from chaosd.journal.runs import new_run_id
from chaosd.journal.write import Facts, seal
from chaosd.kernel.clock import MS, SECOND, Clock, boot_id
from chaosd.kernel.errors import ChaosdError, Exit, HealError, JournalError, RunAborted
from chaosd.process.control import Child
from chaosd.process.spawn import tail
from chaosd.target.launch import checked
from chaosd.traffic.config import later, told_of

_ABORTED_DRAIN_NS = 5 * SECOND
_JUDGE_DEADLINE_S = 600.0


async def execute(request: RunRequest, emit: Emit, stop: Stop, clock: Clock) -> Exit:
    """Carry one request out and give the exit code of its verdict.

    Raises ChaosdError when the run could not be (nothing is left behind then), and HealError when something stayed
    broken. Whatever ends a run early is in its journal, and the judge has the last word on what it proves.
    """
    refuse_when_halted()
    seed = request.seed if request.seed is not None else secrets.randbits(32)
    experiment = _experiment(request, seed)
    # What cannot be is refused before there is a run directory to mistake for a run.
    wanted(request, experiment.brokers)
    run_id = new_run_id(clock, experiment.name)
    run_dir = Path(request.runs_dir).absolute() / run_id
    try:
        (run_dir / "logs").mkdir(parents=True)
    except OSError as error:
        raise JournalError(f"{run_dir} cannot be made: {error.strerror}", remedy="another folder for runs") from error
    facts = Facts(run_dir, "conductor", clock)
    emit({"event": "run", "run_id": run_id, "run_dir": str(run_dir), "experiment": experiment.name})
    for note in experiment.notes:
        emit({"event": "note", "text": note})
    await _mend(emit)
    async with AsyncExitStack() as stack:
        bench = acquire(request, experiment, run_id, run_dir, facts, emit)
        testbed, watchdog = await stop.unless(stack.enter_async_context(bench))
        context = Context(
            run_id=run_id,
            run_tag=secrets.randbits(RUN_TAG_BITS),
            seed=seed,
            run_dir=run_dir,
            experiment=experiment,
            testbed=testbed,
            facts=facts,
            leases=Leases(),
            clock=clock,
            emit=emit,
            # Times inside envelopes count from here: whole milliseconds, so that every codec carries them.
            base_wall_ns=clock.wall_ns() // MS * MS,
        )
        run = _Run(context, request, stop, watchdog)
        await run.conduct()
        facts.close()
        seal(run_dir, clock)
        # The judge needs nothing of the testbed: it works while that is torn down.
        judging = asyncio.create_task(_judge(run_dir, emit), name="judge")
        stack.push_async_callback(asyncio.wait, {judging})
    return run.conclude(await judging)


def _experiment(request: RunRequest, seed: int) -> Experiment:
    """The experiment of a request, on another target where it asks for one. Raises UsageError."""
    limits = operator.read().limits
    experiment = load(request.experiment, forms(), profile=request.profile, limits=limits, seed=seed)
    if request.target is None:
        return experiment
    if target_file.is_file(request.target):
        return fitting.fit(replace(experiment, known=None), target_file.read(Path(request.target)))
    # What is known of the experiment's own target says nothing about another.
    return replace(experiment, target=checked(request.target).name, pipeline=None, known=None)


async def _mend(emit: Emit) -> None:
    """Undo what earlier runs left. It cannot harm a testbed of our own; on a kept one our turn waits for it."""
    for done in await recover():
        emit({"event": "note", "text": f"left by an earlier run: {done.what}" + (done.error and f": {done.error}")})


class _Run:
    """One run on its testbed, from the first fact to the last."""

    def __init__(self, context: Context, request: RunRequest, stop: Stop, watchdog: Watchdog) -> None:
        self._context = context
        self._request = request
        self._stop = stop
        self._watchdog = watchdog
        self._instruments = Instruments(context, stop)
        self._injections = Injections(context, self._instruments)
        self._baselines = Baselines(context)
        self._broken: ChaosdError | None = None

    async def conduct(self) -> None:
        """Everything between the start of the instruments and the seal. An error ends the run early, healed."""
        context, stop = self._context, self._stop
        try:
            async with asyncio.TaskGroup() as background:
                keeping = background.create_task(self._watchdog.keep(), name="watchdog")
                _start_facts(context, self._request)
                await self._measure(background)
                keeping.cancel()
        except* ChaosdError as group:
            self._broken = first_of(group)
            stop.set(self._broken.message)
            await self._injections.heal_all()
        await self._injections.clear_away()
        if stop.is_set():
            context.facts.append("aborted", durable=True, reason=stop.reason)
        context.facts.append("run_ended", durable=True, reason=stop.reason or "complete")

    def conclude(self, verdict: dict[str, Any]) -> Exit:
        """The exit code, after all is judged and torn down. Raises what broke the run, and HealError."""
        if self._injections.unhealed:
            names = ", ".join(self._injections.unhealed)
            raise HealError(f"not healed: {names}", remedy="`chaosd heal`, then look at the stack")
        if self._broken is not None:
            raise self._broken
        if verdict.get("verdict") == "PASS":
            self._baselines.remember(verdict["baseline"])
        return Exit.ABORTED if self._stop.is_set() else Exit(verdict.get("exit", Exit.USAGE))

    async def _measure(self, background: asyncio.TaskGroup) -> None:
        context, instruments = self._context, self._instruments
        try:
            await self._stop.unless(instruments.start(*_configs(context), background))
            started = await self._stop.unless(context.testbed.target_ready())
            context.facts.append("target_ready", pid=started.handle.pid, started=started.handle.started)
            schedule = Schedule(context.experiment.traffic, context.facts, context.clock, instruments.send)
            ticking = _ticking(context, instruments, self._injections, background)
            async with instruments.watching(background), ticking:
                await self._traffic(schedule)
        finally:
            await instruments.close()

    async def _traffic(self, schedule: Schedule) -> None:
        context, instruments, stop = self._context, self._instruments, self._stop
        old = self._baselines.known()
        if old is not None:
            context.facts.append("baseline_reused", **old)
            context.note(f"using the baseline of run {old['run_id']} on this testbed")
        known = old is not None
        async with guarding(context, instruments, stop):
            try:
                await stop.unless(phases.warm_up(context, instruments, schedule, known=known))
                await stop.unless(phases.measure(context, instruments, schedule, self._injections, stop, known=known))
            except RunAborted as aborted:
                context.note(f"ending early: {aborted.message}; healing first")
            finally:
                await self._injections.heal_all()
        early = stop.is_set()
        await drain(context, instruments, schedule, fence=not early, limit_ns=_ABORTED_DRAIN_NS if early else LIMIT_NS)


@asynccontextmanager
async def _ticking(
    context: Context, instruments: Instruments, injections: Injections, group: asyncio.TaskGroup
) -> AsyncIterator[None]:
    beside = [
        group.create_task(tick(context, instruments, injections), name="tick"),
        group.create_task(keep_up(context), name="restarts"),
    ]
    try:
        yield
    finally:
        for task in beside:
            task.cancel()


def _start_facts(context: Context, request: RunRequest) -> None:
    record, experiment, stack = context.testbed.record, context.experiment, context.testbed.stack
    context.facts.append(
        "run_started",
        durable=True,
        version=1,
        run_id=context.run_id,
        run_tag=context.run_tag,
        seed=context.seed,
        profile=request.profile,
        wall_ns=context.clock.wall_ns(),
        boot_id=boot_id(),
        base_wall_ns=context.base_wall_ns,
        chaosd=chaosd.__version__,
        streams=experiment.traffic.streams,
        rate_hz=experiment.traffic.rate_hz,
        topics=[*(asdict(topic) for topic in record.seen), *to_builtins(later(experiment.pipeline))],
        group=record.group,
        partitions=record.topics[0].partitions,
        parts=list(context.testbed.parts),
        processes=list(context.testbed.processes),
        experiment=experiment.to_json(),
        expect=experiment.expect.to_json(),
        limit_ns=experiment.expect.recovery.within_ns,
        hold_ns=experiment.phases.hold_ns,
        testbed={"kept": record.kept, "name": record.name},
        stack={name: {"version": part.version, "origin": part.origin} for name, part in stack.record.parts.items()},
        target=_target(experiment, record.target),
        command=_replay(request, context.seed),
    )


def _target(experiment: Experiment, name: str) -> dict[str, Any]:
    """What the judge must know of the target. Without `results` each envelope owes one, whatever its kind."""
    pipeline = experiment.pipeline
    if pipeline is None:
        return {"name": name, "fifo": True}
    kinds = pipeline.contract.kinds
    several = len(pipeline.inputs) > 1
    return {
        "name": name,
        "fifo": pipeline.fifo,
        "max_idle_ns": pipeline.max_idle_ns,
        "results": [one.count for one in kinds],
        "optional": [number for number, one in enumerate(kinds) if one.optional],
        "late": list(range(len(pipeline.contract.results), len(kinds))),
        # The input of each stream, by its number, and the inputs that owe each kind.
        "dealt": list(pipeline.contract.dealt(experiment.traffic.streams)) if several else [],
        "owing": [pipeline.contract.owing(kind) for kind in kinds] if several else [],
        "file": pipeline.digest,
        "processes": [f"{process}: {service.name}" for process, service, _ in pipeline.processes],
    }


def _replay(request: RunRequest, seed: int) -> str:
    profile = "" if request.profile == "standard" else f" --profile {request.profile}"
    stack = "" if request.stack == "embedded" else f" --stack {request.stack}"
    if request.stack_file is not None:
        stack = "".join([f" --stack-file {request.stack_file}", *(f" --allow-host {x}" for x in request.allow_hosts)])
    target = f" --target {request.target}" if request.target else ""
    return f"chaosd run experiment {request.experiment}{target} --seed {seed}{profile}{stack}"


def _configs(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the tap and the generator are told."""
    record = context.testbed.record
    common = {
        "run_dir": str(context.run_dir),
        "bootstrap": context.testbed.stack.endpoints.direct.bootstrap,
        "run_tag": context.run_tag,
        "seed": context.seed,
        "base_wall_ns": context.base_wall_ns,
        "streams": context.experiment.traffic.streams,
        "topics": [asdict(topic) for topic in record.seen],
        "inputs": _inputs(context),
        **told_of(context.experiment.pipeline),
    }
    return common, {**common, "delivery_timeout_s": 40}


def _inputs(context: Context) -> list[dict[str, Any]]:
    """The input topics, and the consumer group that reads each."""
    record, pipeline = context.testbed.record, context.experiment.pipeline
    own = {one.name: one.group for one in pipeline.inputs} if pipeline is not None else {}
    return [
        {"name": topic.name, "partitions": topic.partitions, "group": own.get(topic.name, record.group)}
        for topic in record.topics
        if topic.role == "input"
    ]


async def _judge(run_dir: Path, emit: Emit) -> dict[str, Any]:
    """Have the sealed journal judged by a process that shares nothing with this one; gives what it said."""
    emit({"event": "phase", "name": "judge", "text": "the journal is sealed; judging it"})
    child = await Child.start(
        "chaosd.report.judge", [str(run_dir), "--json"], stderr_log=run_dir / "logs" / "judge.log"
    )
    said: dict[str, Any] = {}
    try:
        async with asyncio.timeout(_JUDGE_DEADLINE_S):
            async for event in child.events():
                emit(event)
                said = event
            await child.wait()
    except TimeoutError:
        said = {}
    finally:
        await child.close(1.0)
    if not said:
        raise JournalError(
            "the judge gave no verdict", detail=tail(run_dir / "logs" / "judge.log"), remedy=f"chaosd verify {run_dir}"
        )
    return said
