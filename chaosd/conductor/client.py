"""How a surface (CLI, daemon, pytest) starts a conductor and follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaosd.kernel.errors import JournalError
from chaosd.process.control import Child

# Healing, draining what can be drained, tearing the testbed down and judging.
_END_DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one run is to be.

    `experiment` is a path or the name of a bundled experiment, `target` a pipeline to run it on instead of its own,
    `stack` a provider (`stack_file`: a file whose section
    `stack` says which and where, `allow_hosts`: what of it may be broken although it is not this machine), `testbed`
    the name of a kept testbed to use (made when it is not there; None: an own one for this run), `keep` leaves it up
    afterwards, `owner_pid` is the process whose death ends a kept testbed (None: it stays until `chaosd stack down`).
    """

    experiment: str
    target: str | None = None
    seed: int | None = None
    profile: str = "standard"
    runs_dir: str = "runs"
    stack: str = "embedded"
    stack_file: str | None = None
    allow_hosts: tuple[str, ...] = ()
    testbed: str | None = None
    keep: bool = False
    skip_preflight: bool = False
    owner_pid: int | None = None


class RunHandle:
    """A conductor at work: iterate `events()`, `abort()` it, and read `code` when the events have ended."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.code: int | None = None

    @property
    def pid(self) -> int:
        """Process id of the conductor."""
        return self._child.pid

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What the conductor says (JSON objects with a key `event`), until it ends."""
        async for event in self._child.events():
            yield event
        self.code = await self._child.wait()

    async def abort(self, reason: str) -> None:
        """Ask for a healed, orderly end; does nothing when the conductor is gone."""
        await self._child.send({"cmd": "abort", "reason": reason})

    async def close(self) -> None:
        """Close the conductor's input, which it takes as the death of its surface, and wait for its orderly end.

        One that hangs is killed; then the watchdog heals.
        """
        await self._child.close(_END_DEADLINE_S)


async def start(request: RunRequest, log: Path) -> RunHandle:
    """Start a conductor as a child with its standard error appended to `log`, and hand it the request.

    Raises JournalError when `log` cannot be written, StackError when there is no process to be had.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        child = await Child.start("chaosd.conductor", stderr_log=log)
    except OSError as error:
        raise JournalError(
            f"runs cannot be written to {log.parent}: {error.strerror}", remedy="give another folder with --runs-dir"
        ) from error
    await child.send({"cmd": "run", **asdict(request)})
    return RunHandle(child)
