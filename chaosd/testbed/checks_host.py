"""The host: file limit, memory, free ports, the clock, the platform."""

from __future__ import annotations

import platform
import resource
import socket
from itertools import pairwise

import psutil

from chaosd.kernel.clock import SECOND, Clock
from chaosd.testbed.checks import Check, holds

_FILES_MIN = 1024
_MEMORY_MIN_MB = 1024
_PORTS = 12  # of a stack with three brokers and its proxies
_DRIFT_MAX_MS = 50.0
_STEPS = 1000


def host(clock: Clock) -> list[Check]:
    """What a stack, a pipeline and their judge need of the machine."""
    return [_platform(), _files(), _memory(), _ports(), _steps(clock)]


def _platform() -> Check:
    system, machine = platform.system(), platform.machine()
    fine = system == "Linux" and machine in {"x86_64", "aarch64"}
    remedy = "here chaosd runs with a docker or an external stack; on Windows inside WSL2"
    return holds(
        "host", "platform", passed=fine, measured=f"{system} {machine}", wanted="Linux x86_64 or aarch64", remedy=remedy
    )


def _files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fine = soft >= _FILES_MIN or soft == resource.RLIM_INFINITY
    measured = f"{soft} (up to {hard})"
    return holds(
        "host", "open files", passed=fine, measured=measured, wanted=f"at least {_FILES_MIN}", remedy="ulimit -n 4096"
    )


def _memory() -> Check:
    free_mb = psutil.virtual_memory().available // 2**20
    wanted = f"at least {_MEMORY_MIN_MB} MB"
    remedy = "end something, or give the machine more"
    return holds(
        "host", "memory", passed=free_mb >= _MEMORY_MIN_MB, measured=f"{free_mb} MB free", wanted=wanted, remedy=remedy
    )


def _ports() -> Check:
    held: list[socket.socket] = []
    try:
        for _ in range(_PORTS):
            one = socket.socket()
            held.append(one)
            one.bind(("127.0.0.1", 0))
        measured, fine = f"{len(held)} at once", True
    except OSError as error:
        measured, fine = f"{len(held) - 1} at once, then {error.strerror}", False
    finally:
        for one in held:
            one.close()
    return holds(
        "host", "free ports", passed=fine, measured=measured, wanted=f"{_PORTS} on loopback", remedy="free some ports"
    )


def _steps(clock: Clock) -> Check:
    """The clock never goes back, and two looks at it are near each other: no virtual machine that stands still."""
    looks = [clock.now_ns() for _ in range(_STEPS)]
    steps = [after - before for before, after in pairwise(looks)]
    worst_ms = max(steps) / (SECOND / 1000)
    fine = min(steps) >= 0 and worst_ms < _DRIFT_MAX_MS
    measured = f"{'never back' if min(steps) >= 0 else 'goes back'}, longest gap {worst_ms:.2f} ms"
    return holds("host", "clock", passed=fine, measured=measured, wanted=f"never back, gaps < {_DRIFT_MAX_MS:g} ms")
