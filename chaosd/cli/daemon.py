"""`chaosd daemon`: stays, runs experiments on schedule, and serves runs, metrics and health over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chaosd.kernel.errors import Exit


def daemon(
    config: Annotated[Path, typer.Option(help="the daemon's configuration")] = Path("chaosd-daemon.yaml"),
    once: Annotated[bool, typer.Option("--once", help="run every schedule once, then end; no HTTP")] = False,
) -> Exit:
    """Run experiments on schedule on a testbed that stays up between them.

    SIGTERM and Ctrl-C abort the run that is going on, heal, and take the testbed down. Logs go to standard error.
    Exit codes: 0, or with --once the worst of the runs; 2 for a configuration that cannot be; 6 when not healed.
    """
    import asyncio

    from chaosd.daemon.config import load
    from chaosd.daemon.service import serve
    from chaosd.kernel.clock import SystemClock
    from chaosd.kernel.errors import UsageError

    if not config.exists():
        raise UsageError(
            f"there is no configuration {config}", remedy="docs/daemon.md shows one; --config says where it is"
        )
    return asyncio.run(serve(load(config), SystemClock(), once=once))
