"""The gate of a testbed's folder: processes are started in it one at a time, and none once it is being ended.

Several processes of chaosd may mend one testbed at once, and another may end it meanwhile. Without the gate two of them
could start the same part, and a part could be started after the last look for what is left.
"""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from chaosd.kernel.errors import StackError

LOCK = "stack.lock"
ENDING = "ending"
# The holder starts a process and writes a file. One that takes longer hangs, or was stopped with the lock in its hand.
_WAIT_S = 10.0
_SHUT_WAIT_S = 1.0
_LOOK_S = 0.01


@asynccontextmanager
async def starting(folder: Path, wait_s: float = _WAIT_S) -> AsyncIterator[None]:
    """Be the only one, on this machine, who starts a process in the folder.

    Inside it nothing may be awaited between the start of a process and its record on disk. Raises StackError when the
    folder is gone or is being ended, or when somebody else does not let go of it within `wait_s`.
    """
    async with alone(folder / LOCK, wait_s):
        if (folder / ENDING).exists():
            raise StackError(f"{folder.name} is being ended, nothing is started in it any more")
        yield


@asynccontextmanager
async def alone(path: Path, wait_s: float) -> AsyncIterator[None]:
    """Hold a lock file that all processes of this machine share and that ends with its holder.

    Raises StackError when its folder is gone, or somebody else does not let go of it within `wait_s`.
    """
    lock = await _lock(path, wait_s)
    try:
        yield
    finally:
        lock.close()


async def shut(folder: Path, wait_s: float = _SHUT_WAIT_S) -> None:
    """From here on nothing is started in the folder. One that is gone is fine."""
    try:
        lock: IO[bytes] | None = await _lock(folder / LOCK, wait_s)
    except StackError:
        # Whoever holds it is ended with the rest, or finds the mark when it goes on.
        lock = None
    try:
        (folder / ENDING).touch()
    except FileNotFoundError:
        return
    finally:
        if lock is not None:
            lock.close()


async def _lock(path: Path, wait_s: float) -> IO[bytes]:
    """Waits without keeping the event loop from other work."""
    until_s = time.monotonic() + wait_s
    while True:
        try:
            lock = path.open("ab")
        except OSError as error:
            raise StackError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return lock
        if time.monotonic() > until_s:
            raise StackError(f"another process has held {path} for {wait_s:g} s", remedy="`fuser` on it names it")
        await asyncio.sleep(_LOOK_S)
