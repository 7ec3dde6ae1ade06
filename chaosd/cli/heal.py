"""`chaosd heal`: undo whatever a dead chaosd left broken on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from chaosd.kernel.errors import Exit


def heal(
    force: Annotated[bool, typer.Option("--force", help="also undo faults of runs that are still going on")] = False,
) -> Exit:
    """Undo every open lease whose run is gone, and end testbeds that nobody owns. Safe to call at any time."""
    from chaosd.cli.mend import mend

    return mend(force=force)
