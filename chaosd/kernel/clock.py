"""Time as an argument. `CLOCK_MONOTONIC` in nanoseconds is the one clock of all processes of a host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

MS = 1_000_000
SECOND = 1_000_000_000


class Clock(Protocol):
    """What tells the time. Tests pass their own."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds, the same in every process of this host until it reboots."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch, for people and for what must survive a reboot."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_ns(self) -> int:
        """Read CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Read CLOCK_REALTIME."""
        return time.time_ns()


def boot_id() -> str:
    """Tell this boot of the machine from every other: monotonic times of two boots do not compare."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
