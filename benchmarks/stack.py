"""The embedded stack: time to protocol-ready, memory, restarts.

python benchmarks/stack.py [rounds]
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from _rounds import head, show

from chaosd.stack.providers.embedded import EmbeddedProvider

PARTS = ("redis", "postgres", "toxiproxy", "kafka")


async def once(figures: dict[str, list[float]]) -> None:
    """One stack: up, measured, each part killed and started, down."""
    folder, provider = Path(tempfile.mkdtemp(prefix="chaosd-bench-")), EmbeddedProvider()
    began = time.monotonic_ns()
    stack = await provider.up(folder, str(folder))
    figures["up"].append((time.monotonic_ns() - began) / 1e9)
    usage = await stack.usage()
    for part in PARTS:
        figures[f"pss {part}"].append(usage[part].pss_kb / 1024)
    figures["pss"].append(sum(one.pss_kb for one in usage.values()) / 1024)
    for part in PARTS:
        gone_ns = await stack.stop_part(part, kill=True)
        started = await stack.start_part(part)
        figures[f"kill {part}"].append((started.ready_ns - gone_ns) / 1e6)
    began = time.monotonic_ns()
    await provider.down(stack)
    stack.close()
    figures["down"].append((time.monotonic_ns() - began) / 1e9)
    shutil.rmtree(folder, ignore_errors=True)


async def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        await once(figures)
    head()
    show("stack up, every part ready", figures["up"], "s", "≤ 3")
    show("stack down", figures["down"], "s", "-")
    for part in PARTS:
        show(f"memory of {part}", figures[f"pss {part}"], "MB PSS", "-")
    show("memory of the whole stack", figures["pss"], "MB PSS", "< 200")
    for part in PARTS:
        show(f"{part}: SIGKILL → ready", figures[f"kill {part}"], "ms", "-")


if __name__ == "__main__":
    asyncio.run(main())
