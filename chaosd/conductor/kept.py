"""A testbed that a surface keeps for many runs, under a guard: it outlives no surface, not even a killed one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from chaosd.conductor.stacks import EMBEDDED
from chaosd.healing.leases import Leases
from chaosd.kernel.errors import ChaosdError, HealError, StackError, UsageError
from chaosd.process import spawn
from chaosd.process.control import Child
from chaosd.process.places import state_dir, testbeds_dir
from chaosd.process.spawn import tail
from chaosd.testbed.testbed import Testbed, announce, owner_of_this_process, tear_down

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ARM_DEADLINE_S = 10.0
_TEAR_DOWN_S = 30.0
_GUARD_TEAR_DOWN_S = 70.0  # the watchdog's own limit for it is 60 s


class Kept:
    """A testbed owned by this process: `open`, `prepare` (or `ready`) before every use, `close`.

    `keep` runs beside that and replaces the guard when it dies. Not for two tasks at once.
    """

    def __init__(self, name: str, provider: str, log: Path) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name for a testbed", remedy="use letters, digits, `-`, `_` and `.`")
        self.name = name
        self.directory = testbeds_dir() / name
        self._provider = provider
        self._log = log
        self._lock: IO[bytes] | None = None
        self._guard: Child | None = None
        self._closing = False
        self._doubtful = False

    async def open(self) -> None:
        """Take the name and arm the guard; nothing is started yet. Raises UsageError when the name is taken."""
        self._lock = _take(self.name)
        try:
            if self.directory.exists():
                raise UsageError(
                    f"there is already a testbed {self.name}",
                    remedy=f"`chaosd stack down {self.name}` ends it; or choose another name",
                )
            await self._arm()
        except BaseException:
            self._release()
            raise

    async def prepare(self) -> None:
        """End what is left of a testbed that is not whole. The conductor of the next run makes it anew."""
        spawn.reap()
        if self.directory.exists() and (self._doubtful or not await self._whole()):
            await tear_down(self.directory)
            if self._provider == EMBEDDED:
                Leases().close_all_on(self.directory)
        self._doubtful = False

    async def ready(self) -> Testbed:
        """The testbed, whole, without a run: brought up by this process where it is not there. Raises StackError.

        Files are copied meanwhile, so the loop stands still for a second or more.
        """
        await self.prepare()
        if self.directory.exists():
            return await Testbed.open(self.directory)
        announce(self.name, provider=self._provider, kept=True, owner=owner_of_this_process())
        return await Testbed.up(self.directory)

    def doubt(self) -> None:
        """A run could not heal it: the next one gets a new one."""
        self._doubtful = True

    async def keep(self) -> None:
        """Replace the guard whenever it dies; runs until cancelled, or until the testbed is closed."""
        while self._guard is not None:
            await self._guard.wait()
            if self._closing:
                return
            await self._arm()

    async def close(self) -> None:
        """End the testbed, then its guard. Raises HealError when even the guard could not end it."""
        self._closing = True
        if self._guard is None:
            return
        try:
            async with asyncio.timeout(_TEAR_DOWN_S):
                await tear_down(self.directory)
        except (ChaosdError, OSError, TimeoutError) as error:
            # Left without a holder, the guard goes on with it.
            await self._guard.close(_GUARD_TEAR_DOWN_S)
            if self.directory.exists():
                raise HealError(f"the testbed {self.name} is not gone: {error}", remedy="`chaosd heal`") from error
        else:
            await self._guard.send({"cmd": "disarm"})
            await self._guard.close()
        finally:
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            _lock_file(self.name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    async def _arm(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        guard = await Child.start("chaosd.healing.watchdog", stderr_log=self._log)
        order: dict[str, Any] = {"run_dir": None, "testbed": str(self.directory), "teardown": True, "run_id": ""}
        order["holder"] = asdict(owner_of_this_process())
        await guard.send({"cmd": "arm", **order})
        try:
            async with asyncio.timeout(_ARM_DEADLINE_S):
                async for event in guard.events():
                    if event["event"] == "armed":
                        self._guard = guard
                        return
        except TimeoutError as error:
            raise StackError(f"the guard of {self.name} was not armed within {_ARM_DEADLINE_S:.0f} s") from error
        finally:
            if self._guard is not guard:
                guard.kill()
        raise StackError(f"the guard of {self.name} ended before it was armed", detail=tail(str(self._log)))

    async def _whole(self) -> bool:
        """Whether every process of the stack that chaosd started still runs."""
        try:
            stack = (await Testbed.open(self.directory)).stack
        except StackError:
            return False
        return all(stack.alive(name) for name, part in stack.record.parts.items() if part.handle is not None)


def _take(name: str) -> IO[bytes]:
    """A lock on the name that ends with this process. Raises UsageError when another process has it."""
    path = _lock_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        lock = path.open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise UsageError(
                f"the testbed {name} belongs to another process of chaosd",
                remedy="end that one, or choose another name",
            ) from error
        # Its last owner may have deleted the file between our opening and our locking it.
        if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
            return lock
        lock.close()


def _lock_file(name: str) -> Path:
    return state_dir() / "kept" / name
