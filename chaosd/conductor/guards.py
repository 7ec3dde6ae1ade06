"""Keeps the watchdog alive, and tells the run when it must end.

The watchdog holds the promise to undo; the conductor holds the promise that there is a watchdog. One that dies is
replaced at once and told the same: leases are on disk, so nothing is lost with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from chaosd.journal.write import Facts
from chaosd.kernel.errors import ChaosdError, RunAborted, StackError
from chaosd.process import spawn
from chaosd.process.control import Child
from chaosd.process.spawn import tail
from chaosd.testbed.testbed import owner_of_this_process

_ARM_DEADLINE_S = 10.0
_LOOK_S = 0.2
_HAND_OVER_DEADLINE_S = 90.0  # the watchdog's own limits: 60 s to tear down, three tries to undo

T = TypeVar("T")


class Stop:
    """Raised by whoever sees first that the run must end; the reason of the first one counts."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason = ""

    def set(self, reason: str) -> None:
        """Ask for the end of the run."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    def is_set(self) -> bool:
        """Whether someone asked."""
        return self._event.is_set()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, but cancel it, let it clean up, and raise RunAborted as soon as the run must end."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._event.wait(), name="stop")
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise RunAborted(self.reason)
        finally:
            stopped.cancel()
            task.cancel()
            await asyncio.wait({task})


class Watchdog:
    """The run's watchdog process: armed before the first part starts, disarmed when nothing is left to undo."""

    def __init__(self, order: dict[str, Any], facts: Facts, log: Path) -> None:
        self._order = order
        self._facts = facts
        self._log = log
        self._child: Child | None = None
        self._disarmed = False

    async def arm(self, kind: str = "watchdog_armed") -> None:
        """Start it and wait until it says that it is armed."""
        child = await Child.start("chaosd.healing.watchdog", stderr_log=self._log)
        await child.send(self._arming())
        try:
            async with asyncio.timeout(_ARM_DEADLINE_S):
                await self._armed(child)
        except TimeoutError as error:
            child.kill()
            raise StackError(f"the watchdog was not armed within {_ARM_DEADLINE_S:.0f} s") from error
        self._child = child
        self._facts.append(kind, durable=True, pid=child.pid)

    def _arming(self) -> dict[str, Any]:
        return {"cmd": "arm", **self._order, "holder": asdict(owner_of_this_process())}

    async def _armed(self, child: Child) -> None:
        async for event in child.events():
            if event["event"] == "armed":
                return
        raise StackError("the watchdog ended before it was armed", detail=tail(self._log))

    async def keep(self) -> None:
        """Replace the watchdog whenever it dies, or was stopped and guards nothing; runs until cancelled."""
        while True:
            if self._child is None:
                raise RuntimeError("keep() before arm()")
            await _ended(self._child)
            if self._disarmed:
                return
            await self.arm("watchdog_respawned")

    async def rearm(self, *, teardown: bool) -> None:
        """Change what it does when we die: a kept testbed is torn down only while it is half made."""
        self._order["teardown"] = teardown
        if self._child is not None:
            await self._child.send(self._arming())

    async def hand_over(self) -> None:
        """Let it do what it would do after our death, and wait until it has."""
        self._disarmed = True
        if self._child is not None:
            await self._child.close(_HAND_OVER_DEADLINE_S)

    async def disarm(self) -> None:
        """Tell it that all is healed; it ends."""
        self._disarmed = True
        if self._child is not None:
            await self._child.send({"cmd": "disarm"})
            await self._child.close()


async def _ended(child: Child) -> None:
    """Wait for the end of a child; one that is stopped (SIGSTOP) is killed."""
    handle = spawn.handle_of(child.pid)
    while child.code is None:
        if handle is not None and spawn.state(handle) == "T":
            child.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await child.wait()


def first_of(group: BaseExceptionGroup[ChaosdError]) -> ChaosdError:
    """The first error for people in a (nested) group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ChaosdError):
        raise error
    return error
