"""Waiting until a started server serves, between two moments: not yet, and already."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import StackError
from chaosd.process import patience, sockets, spawn
from chaosd.stack import ports
from chaosd.stack.part import NotReady, Part

if TYPE_CHECKING:
    from chaosd.stack.address import Address

PAUSE_S = 0.01  # between two probes
LIMIT_S = 40.0
LOG_LINES = 12

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Started:
    """A part that serves. It began to between `ready_low_ns` (the start of the last failed probe, or of the process)
    and `ready_ns` (the first good answer), both CLOCK_MONOTONIC.
    """

    ready_low_ns: int
    ready_ns: int
    handle: spawn.Handle
    version: str = ""


class Died(StackError):
    """The process ended before it served."""


def tail(log: str | Path, lines: int = LOG_LINES) -> str:
    """The last lines of a log, empty when there is none."""
    try:
        with Path(log).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


async def until_ready(
    part: Part, address: Address, handle: spawn.Handle, log: str, limit_s: float = LIMIT_S
) -> Started:
    """Probe until the part answers and the process is its owner.

    Raises Died when the process ends, StackError when `limit_s` passes or a foreign process owns the port.
    """
    low_ns = _clock.now_ns()
    limit_s *= patience.scale()
    deadline_ns = low_ns + int(limit_s * 1e9)
    why: Exception | None = None
    while True:
        began_ns = _clock.now_ns()
        try:
            version = await part.ready(address)
        except (NotReady, OSError, TimeoutError) as error:
            why, low_ns = error, began_ns
        else:
            if sockets.owns(handle, address.port):
                return Started(low_ns, _clock.now_ns(), handle, version)
            if spawn.alive(handle):
                who = sockets.taken_by(address.port) or "a foreign process"
                raise ports.PortTaken(
                    f"{part.name}: port {address.port} is in use by {who}", remedy="end it, or use another port"
                )
        if not spawn.alive(handle):
            spawn.reap()
            raise Died(f"{part.name} ended while starting", detail=tail(log), remedy=remedy_of(tail(log)))
        if began_ns > deadline_ns:
            raise StackError(
                f"{part.name} does not serve after {limit_s:g} s: {why}", detail=tail(log), remedy=f"see {log}"
            )
        await asyncio.sleep(PAUSE_S)


def remedy_of(log: str) -> str:
    """What the last lines of a server's log suggest to do."""
    hints = {
        "address already in use": "end what uses the port, or use another port",
        "no space left": "make room on the disk",
        "outofmemory": "give the machine more memory",
        "cannot allocate memory": "give the machine more memory",
        "permission denied": "check who owns the folders of the testbed and of the cache",
    }
    lowered = log.lower()
    return next((text for sign, text in hints.items() if sign in lowered), "the lines above say why")
