"""`chaosd heal`: undo whatever a dead chaosd left broken on this machine."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from chaosd.kernel.errors import Exit


def heal(
    force: Annotated[bool, typer.Option("--force", help="also undo faults of runs that are still going on")] = False,
) -> Exit:
    """Undo every open lease whose run is gone, and end testbeds that nobody owns. Safe to call at any time."""
    from chaosd.healing.recover import recover

    done = asyncio.run(recover(force=force))
    for item in done:
        print(f"{'healed' if item.ok else 'NOT HEALED'}: {item.what}", file=sys.stdout if item.ok else sys.stderr)
        if item.error:
            print(f"  | {item.error}", file=sys.stderr)
    if not done:
        print("nothing to heal")
    return Exit.PASS if all(item.ok for item in done) else Exit.UNHEALED
