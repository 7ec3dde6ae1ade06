"""The value Lease: the durable promise to undo one injection, complete enough for any process to keep it."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import asdict, dataclass, replace
from typing import Any

from chaosd.kernel.clock import Clock, boot_id
from chaosd.process import spawn
from chaosd.process.spawn import Handle

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Lease:
    """`params` and `memo` are JSON values, `testbed` is the testbed's directory, `tag` what the fault named its work.

    `deadline_ns` is on CLOCK_MONOTONIC of the boot `boot_id`, `deadline_wall_ns` the same moment for people and for
    other boots. The holder is the process that undoes it in good time.
    """

    id: str
    run_id: str
    injection: str
    fault: str
    on: str
    params: dict[str, Any]
    memo: dict[str, Any]
    tag: str
    testbed: str
    deadline_ns: int
    deadline_wall_ns: int
    boot_id: str
    holder_pid: int
    holder_started: int

    @property
    def holder(self) -> Handle:
        """The process that took the lease."""
        return Handle(self.holder_pid, self.holder_started)

    def held(self) -> bool:
        """Whether the holder still runs, and so will undo it by itself."""
        return self.boot_id == boot_id() and spawn.works(self.holder)

    def overdue(self, clock: Clock) -> bool:
        """Whether it should have been undone by now."""
        if self.boot_id != boot_id():
            return True
        return clock.now_ns() > self.deadline_ns

    def until(self, deadline_ns: int, clock: Clock) -> Lease:
        """The same with another deadline, on CLOCK_MONOTONIC."""
        wall_ns = clock.wall_ns() + deadline_ns - clock.now_ns()
        return replace(self, deadline_ns=deadline_ns, deadline_wall_ns=wall_ns)

    def to_json(self) -> dict[str, Any]:
        """The lease as JSON values; `from_json` gives it back."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Lease:
        """Rebuild what `to_json` wrote. Raises ValueError for anything else."""
        if data.get("format") != _FORMAT:
            raise ValueError(f"a lease of format {data.get('format')!r}")
        try:
            return cls(**{key: value for key, value in data.items() if key != "format"})
        except TypeError as error:
            raise ValueError(str(error)) from error


def new_lease(
    *,
    run_id: str,
    injection: str,
    fault: str,
    on: str,
    params: dict[str, Any],
    memo: dict[str, Any],
    tag: str,
    testbed: str,
    lasts_ns: int,
    clock: Clock,
) -> Lease:
    """A lease held by this process, for `lasts_ns` from now."""
    own = spawn.handle_of(os.getpid())
    if own is None:
        raise RuntimeError("this process has no entry in /proc")
    # It names a file.
    stem = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{run_id}.{injection}")
    return Lease(
        id=f"{stem}.{secrets.token_hex(3)}",
        run_id=run_id,
        injection=injection,
        fault=fault,
        on=on,
        params=params,
        memo=memo,
        tag=tag,
        testbed=testbed,
        deadline_ns=clock.now_ns() + lasts_ns,
        deadline_wall_ns=clock.wall_ns() + lasts_ns,
        boot_id=boot_id(),
        holder_pid=own.pid,
        holder_started=own.started,
    )
