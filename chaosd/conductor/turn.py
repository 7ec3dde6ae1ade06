"""One run at a time on a kept testbed: whoever runs on it holds a lock that ends with its process.

Two runs at once would see each other's faults and count each other's envelopes, and both verdicts would be wrong.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, Clock, SystemClock
from chaosd.kernel.errors import HealError, UsageError
from chaosd.process.places import state_dir

# The watchdog of a conductor that was killed needs so long to start the slowest part again.
_HEALED_S = 60.0
_LOOK_S = 0.1


@asynccontextmanager
async def turn(directory: Path, *, healed_s: float = _HEALED_S, clock: Clock | None = None) -> AsyncIterator[None]:
    """Be the only run on the testbed in `directory`, with nothing on it broken by an earlier one.

    Raises UsageError while another process runs on it, HealError when what a killed run broke is not mended in time.
    """
    lock = take(directory.name)
    try:
        await _healed(directory, healed_s, clock or SystemClock())
        yield
    finally:
        lock.close()


def take(name: str) -> IO[bytes]:
    """The lock of a testbed; it is let go when the file is closed. Raises UsageError when it is taken or cannot be."""
    # Never deleted: a new file of the name would be a second lock.
    path = state_dir() / "turns" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("ab")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", remedy="name another folder in CHAOSD_STATE"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UsageError(
            f"another run is using the testbed {name}", remedy="wait for its end, or give another --testbed"
        ) from error
    return lock


async def _healed(directory: Path, limit_s: float, clock: Clock) -> None:
    until_ns = clock.now_ns() + round(limit_s * SECOND)
    # What was broken on a testbed that is gone went with it.
    while directory.exists() and (left := [lease for lease in Leases().all() if lease.testbed == str(directory)]):
        if clock.now_ns() > until_ns:
            names = ", ".join(f"{lease.fault} on {lease.on} (run {lease.run_id})" for lease in left)
            raise HealError(f"the testbed {directory.name} is still broken: {names}", remedy="`chaosd heal`")
        await asyncio.sleep(_LOOK_S)
