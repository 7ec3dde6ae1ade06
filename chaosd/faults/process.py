"""Faults of processes: a part of the stack, Toxiproxy or the target ends, or stands still."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from chaosd.faults import kafka_gauges
from chaosd.faults.fault import Bench, Cleared, Fault, Force
from chaosd.faults.params import NoParams
from chaosd.kernel import names
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.process import spawn
from chaosd.process.spawn import Handle
from chaosd.stack.ready import Started
from chaosd.testbed.gauges import Gauges

TARGET = "target"
TOXIPROXY = "toxiproxy"
PARTS = ("redis", "kafka", "postgres")
ENDABLE = (*PARTS, TOXIPROXY, TARGET)
NEEDS = "restart"

_TARGET_GRACE_S = 10.0
_ALL_STOPPED_S = 2.0
_LOOK_S = 0.002

_clock = SystemClock()
_T = TypeVar("_T")


async def _prepare(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    handles = {name: _running(bench, name) for name in bench.members(on)}
    return {"processes": {name: [handle.pid, handle.started] for name, handle in handles.items()}}


def _running(bench: Bench, name: str) -> Handle:
    handle = bench.handle(name)
    if handle is None:
        raise StackError(f"chaosd did not start {name} and may not end or pause it", remedy="use the embedded stack")
    if not spawn.alive(handle):
        raise StackError(f"{name} does not run, so it can be neither ended nor paused")
    return handle


async def _each(processes: Iterable[str], work: Callable[[str], Coroutine[Any, Any, _T]]) -> dict[str, _T]:
    """The same with several processes, side by side. Raises the first error, when all have ended."""
    tasks = {name: asyncio.create_task(work(name), name=name) for name in processes}
    try:
        await asyncio.wait(tasks.values())
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())
    return {name: task.result() for name, task in tasks.items()}


async def _end(bench: Bench, on: str, *, kill: bool) -> dict[str, Any]:
    return {"ended": await _each(bench.members(on), lambda name: _end_one(bench, name, kill=kill))}


async def _end_one(bench: Bench, name: str, *, kill: bool) -> dict[str, Any]:
    handle = _running(bench, name)
    called_ns = _clock.now_ns()
    if names.kind(name) == TARGET:
        await asyncio.to_thread(spawn.end, handle, 0.0 if kill else _TARGET_GRACE_S)
        gone_ns = _clock.now_ns()
    else:
        gone_ns = await bench.stack.stop_part(name, kill=kill)
    if spawn.alive(handle):
        raise StackError(f"{name} (process {handle.pid}) does not end, not even by SIGKILL")
    return {"pid": handle.pid, "started": handle.started, "called_ns": called_ns, "gone_ns": gone_ns}


async def _restart(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    return await _end(bench, on, kill=False)


async def _kill(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    return await _end(bench, on, kill=True)


async def _end_first(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    first = bench.members(on)[0]
    return {"ended": {first: await _end_one(bench, first, kill=False)}}


async def _one_by_one(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str, force: Force) -> None:
    """Each is back, and in sync, before the next one goes. The first has been ended already."""
    for number, name in enumerate(bench.members(on)):
        if number:
            await _end_one(bench, name, kill=False)
        await bench.start(name)


async def _start(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    began_ns = _clock.now_ns()
    started = await _each(bench.members(on), lambda name: _start_one(bench, name))
    evidence = {name: {"pid": one.handle.pid, "started": one.handle.started} for name, one in started.items()}
    return Cleared(
        max(one.ready_low_ns for one in started.values()),
        max(one.ready_ns for one in started.values()),
        {"start_called_ns": began_ns, "runs": evidence},
    )


async def _start_one(bench: Bench, name: str) -> Started:
    # It may never have been ended, and be paused by somebody: a stopped process does not become ready.
    bench.signal(name, signal.SIGCONT)
    return await bench.start(name)


async def _pause(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    return {"paused": await _each(bench.members(on), lambda name: _pause_one(bench, name))}


async def _pause_one(bench: Bench, name: str) -> dict[str, Any]:
    handle = _running(bench, name)
    try:
        async with asyncio.timeout(_ALL_STOPPED_S):
            # A process may fork while we signal; the next round meets its child.
            while any(spawn.state(process) not in ("T", "") for process in spawn.tree(handle)):
                bench.signal(name, signal.SIGSTOP)
                await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise StackError(f"{name} (process {handle.pid}) does not stop") from error
    if not spawn.alive(handle):
        raise StackError(f"{name} ended while it was being paused")
    return {"pid": handle.pid, "started": handle.started, "stopped": len(spawn.tree(handle))}


async def _resume(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    low_ns = _clock.now_ns()
    paused = {name: Handle(int(pid), int(started)) for name, (pid, started) in memo["processes"].items()}
    await _each(paused, lambda name: _resume_one(bench, name, paused[name]))
    evidence = {name: {"pid": handle.pid, "alive": spawn.alive(handle)} for name, handle in paused.items()}
    return Cleared(low_ns, _clock.now_ns(), {"runs": evidence})


async def _resume_one(bench: Bench, name: str, paused: Handle) -> None:
    # The paused process itself, and whatever stands in its place by now.
    spawn.signal_tree(paused, signal.SIGCONT)
    bench.signal(name, signal.SIGCONT)
    try:
        async with asyncio.timeout(_ALL_STOPPED_S):
            while still := [process for process in spawn.tree(paused) if spawn.state(process) == "T"]:
                for process in still:
                    spawn.send_signal(process, signal.SIGCONT)
                await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise StackError(f"{name} (process {paused.pid}) does not go on") from error
    if _one_of_a_cluster(name) and spawn.alive(paused):
        # The others have put it out, and it is in their way until it has caught up. Ended meanwhile, it is another's.
        await bench.start(name)


def _ended(on: str, params: Any) -> tuple[Proof, ...]:
    # Its start time alone: between the end of a process and the next one's readiness there may be no time for a probe.
    ended = Proof(Source.PROCESS_START, on, Relation.CHANGED)
    if not _one_of_a_cluster(on):
        return (ended,)
    return (ended, kafka_gauges.told(on, "leads", Relation.AT_MOST, 0))


def _one_of_a_cluster(on: str) -> bool:
    """Whether it is a broker that others stand in for: then they tell what it leads, and whether it is in sync."""
    return on != kafka_gauges.KAFKA and names.kind(on) == kafka_gauges.KAFKA


def _membership(on: str, params: Any) -> tuple[Gauges, ...]:
    return (kafka_gauges.member(on),) if _one_of_a_cluster(on) else ()


def _in_sync(on: str) -> tuple[Proof, ...]:
    return (kafka_gauges.told(on, "out_of_sync", Relation.AT_MOST, 0),) if _one_of_a_cluster(on) else ()


def _serves(on: str, params: Any) -> tuple[Proof, ...]:
    runs = Proof(Source.PROCESS_STATE, on, Relation.NONE_OF, words=("gone", "stopped"))
    if names.kind(on) == TARGET:
        return (runs,)
    if on == TOXIPROXY:
        return (runs, *(Proof(Source.OUTCOME, part, Relation.NONE_OF, words=("refused",)) for part in PARTS))
    return (runs, Proof(Source.DIRECT_OUTCOME, on, Relation.NONE_OF, words=("refused",)), *_in_sync(on))


def _stands(on: str, params: Any) -> tuple[Proof, ...]:
    return (Proof(Source.PROCESS_STATE, on, Relation.ONE_OF, words=("stopped",)),)


def _goes_on(on: str, params: Any) -> tuple[Proof, ...]:
    runs = Proof(Source.PROCESS_STATE, on, Relation.NONE_OF, words=("stopped",))
    if on != TOXIPROXY:
        return (runs, *_in_sync(on))
    return (runs, *(Proof(Source.OUTCOME, part, Relation.NONE_OF, words=("timeout",)) for part in PARTS))


restart = Fault(
    "restart",
    NoParams,
    ENDABLE,
    NEEDS,
    _prepare,
    _restart,
    _start,
    _ended,
    _serves,
    "It ends in good order, stays down for `for`, and is started again.",
    starts=True,
    gauges=_membership,
)
rolling_restart = Fault(
    "rolling_restart",
    NoParams,
    (kafka_gauges.KAFKA,),
    NEEDS,
    _prepare,
    _end_first,
    _start,
    _ended,
    _serves,
    "Its brokers end in good order and are started again, one after the other, each when the one before is in sync; "
    "`for` must be long enough for all of them.",
    starts=True,
    during=_one_by_one,
)
kill = Fault(
    "kill",
    NoParams,
    ENDABLE,
    NEEDS,
    _prepare,
    _kill,
    _start,
    _ended,
    _serves,
    "It is killed (SIGKILL), stays down for `for`, and is started again.",
    starts=True,
    gauges=_membership,
)
pause = Fault(
    "pause",
    NoParams,
    ENDABLE,
    NEEDS,
    _prepare,
    _pause,
    _resume,
    _stands,
    _goes_on,
    "It stands still (SIGSTOP) with all its connections open.",
    gauges=_membership,
)
