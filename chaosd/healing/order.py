"""What a watchdog is told to guard. Light: it is read before all that an undo needs is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaosd.process import spawn
from chaosd.process.spawn import Handle


@dataclass(frozen=True, slots=True)
class Order:
    """What it guards. `run_dir` is None for a guard over a testbed that no run uses now; `teardown`: end it too.

    `holder` is the process whose death it waits for.
    """

    testbed: Path
    teardown: bool
    run_id: str
    run_dir: Path | None
    holder: Handle | None = None

    @classmethod
    def of(cls, command: dict[str, Any]) -> Order:
        """Read an `arm` command."""
        run_dir, holder = command.get("run_dir"), command.get("holder")
        return cls(
            testbed=Path(command["testbed"]),
            teardown=bool(command["teardown"]),
            run_id=str(command.get("run_id", "")),
            run_dir=Path(run_dir) if run_dir else None,
            holder=Handle(int(holder["pid"]), int(holder["started"])) if holder else spawn.handle_of(os.getppid()),
        )
