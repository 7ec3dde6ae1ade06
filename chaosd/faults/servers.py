"""What faults made by a server's own means have in common: chaosd's sessions, and what is held while a fault lasts.

What a fault holds (a lock, connections, a session that breaks something again and again) lives in the process that
injected it and ends with its sockets, so with that process. Any other process ends it through the server: the sessions
bear a name that follows from the lease.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from chaosd.faults.fault import Bench, Cleared
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import StackError
from chaosd.process import spawn
from chaosd.testbed import session

NEEDS = "admin"
# The stack is chaosd's own, with all that is in it.
OWN = "own"
BREAKS = f"{session.NAMES}-fault-"
# A part that another fault has ended or paused serves again when that is undone.
_PATIENCE_NS = 40 * SECOND
_TRIES_S = 0.05
_LAST_ACT_S = 3.0
# How often what holds all connections is filled up, at first and then.
_FILL_TRIES = 50
_SETTLES_S = 0.02
REFILL_S = 0.2

clock = SystemClock()
T = TypeVar("T")


class Session(Protocol):
    """A session that can be dropped."""

    def close(self) -> None:
        """Drop it."""
        ...


S = TypeVar("S", bound=Session)


@dataclass(frozen=True, slots=True)
class _Held:
    sessions: Sequence[Session]
    stop: asyncio.Event
    work: asyncio.Task[None] | None


_held: dict[str, _Held] = {}


def mark(tag: str) -> str:
    """The name of an injection's sessions: short enough for every server, the same in every process."""
    return BREAKS + hashlib.sha256(tag.encode()).hexdigest()[:16]


def hold(tag: str, sessions: Sequence[Session]) -> None:
    """Keep the sessions open until `release`."""
    _held[tag] = _Held(sessions, asyncio.Event(), None)


def hold_and_repeat(
    tag: str, sessions: Sequence[Session], every_s: float, act: Callable[[], Awaitable[object]]
) -> None:
    """Keep the sessions open and act through them again and again, until `release` or until one of them is ended."""
    stop = asyncio.Event()
    work = asyncio.create_task(_repeat(stop, every_s, act), name=mark(tag))
    _held[tag] = _Held(sessions, stop, work)


async def begin(tag: str, own: Session, every_s: float, act: Callable[[], Awaitable[T]]) -> T:
    """Act once through a session, and then again and again as `hold_and_repeat` does; gives what the first act gave."""
    try:
        first = await act()
    except BaseException:
        own.close()
        raise
    hold_and_repeat(tag, [own], every_s, act)
    return first


async def fill(tag: str, sessions: Sequence[Session], full: Callable[[], Awaitable[bool]], why_not: str) -> None:
    """Hold the sessions, and fill until it is `full`. Raises StackError when others are quicker.

    Others come and go: the caller goes on by `hold_and_repeat`, or the target takes a place that is given back.
    """
    hold(tag, sessions)
    for _ in range(_FILL_TRIES):
        if await full():
            return
        await asyncio.sleep(_SETTLES_S)
    raise StackError(why_not)


async def _repeat(stop: asyncio.Event, every_s: float, act: Callable[[], Awaitable[object]]) -> None:
    with suppress(StackError):  # the session was ended: that is how another process stops it
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await stop.wait()
                return
            await act()


async def at_rest(tag: str) -> Sequence[Session]:
    """What this process holds for an injection, after the last act; nothing, where another process injected it."""
    found = _held.get(tag)
    if found is None:
        return ()
    found.stop.set()
    if found.work is not None:
        await asyncio.wait({found.work}, timeout=_LAST_ACT_S)
        found.work.cancel()
    return found.sessions


async def release(tag: str) -> None:
    """End what this process holds for an injection. Idempotent."""
    for one in await at_rest(tag):
        one.close()
    _held.pop(tag, None)


async def patiently(attempt: Callable[[], Awaitable[T]], limit_ns: int = _PATIENCE_NS) -> T:
    """Try until it succeeds: an undo must come through although another fault holds the part. Raises StackError."""
    until_ns = clock.now_ns() + limit_ns
    while True:
        try:
            return await attempt()
        except StackError:
            if clock.now_ns() > until_ns:
                raise
        await asyncio.sleep(_TRIES_S)


async def mended(
    bench: Bench,
    part: str,
    opened: Callable[[Bench], Awaitable[S]],
    mend: Callable[[S], Awaitable[Mapping[str, Any]]],
    since_ns: int | None = None,
) -> Cleared:
    """Undo through a session of its own, again until it has come through. `mend` gives what was read back.

    Gone since `since_ns`, or since the last try began. A part that is not running has forgotten all of it.
    """
    now_ns = clock.now_ns()
    if died(bench, part):
        return ended(part, now_ns if since_ns is None else since_ns)

    async def attempt() -> Cleared:
        with closing(await opened(bench)) as own:
            low_ns = clock.now_ns() if since_ns is None else since_ns
            told = await mend(own)
            return Cleared(low_ns, clock.now_ns(), told)

    return await patiently(attempt)


def ended(part: str, at_ns: int) -> Cleared:
    """What was in the memory or the sessions of a part is gone with its process."""
    return Cleared(at_ns, at_ns, {part: "not running: what it held is gone with it"})


def died(bench: Bench, part: str) -> bool:
    """Whether the part's process is gone, and with it all that was set in its memory only."""
    handle = bench.handle(part)
    return handle is not None and not spawn.alive(handle)


def stopped(bench: Bench, part: str) -> bool:
    """Whether the part's process is paused."""
    handle = bench.handle(part)
    return handle is not None and spawn.state(handle) == "T"


def owned(bench: Bench) -> bool:
    """Whether the whole stack is chaosd's: then every connection that is not chaosd's is the target's."""
    return OWN in bench.stack.capabilities
