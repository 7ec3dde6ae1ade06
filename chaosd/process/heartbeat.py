"""The heartbeat of a process: a beat every 10 ms on its event loop, which shows when the process itself stalled.

What a stalled reader saw late was not late; without the beat nobody could tell the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chaosd.kernel.clock import MS, Clock

INTERVAL_NS = 10 * MS
LATE_NS = 5 * MS

# Called with (due_ns, beat_ns) of a beat that came late: the process stalled in between.
Record = Callable[[int, int], None]


def late(due_ns: int, beat_ns: int) -> bool:
    """Whether a beat came so late that it is written down: more than `LATE_NS`."""
    return beat_ns - due_ns > LATE_NS


async def beat(clock: Clock, record: Record) -> None:
    """Beat until cancelled; late beats are recorded, the next one is due 10 ms after the late one."""
    last_ns = clock.now_ns()
    while True:
        due_ns = last_ns + INTERVAL_NS
        await asyncio.sleep(max(0, due_ns - clock.now_ns()) / 1e9)
        now_ns = clock.now_ns()
        if late(due_ns, now_ns):
            record(due_ns, now_ns)
        # Counting from the due time keeps the beat exact; after a stall the missed beats are not made up for.
        last_ns = due_ns if now_ns - due_ns < INTERVAL_NS else now_ns
