"""What the canaries cost: CPU time of a process that does nothing else, as a share of one core.

python benchmarks/canaries.py [rounds]

Three shapes: no edge near; an edge all the time, the densest they get; a run with one fault of eight seconds in thirty
seconds of traffic, which has two edges. Rows are encoded as in a run. Not wall time: on a busy machine it is the same.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from _rounds import head, show

from chaosd.conductor.instruments import FLUSH_S
from chaosd.journal.columns import CANARIES
from chaosd.journal.stream import Columns
from chaosd.kernel.clock import SystemClock
from chaosd.testbed.canary import Canaries
from chaosd.testbed.testbed import Testbed, announce, owner_of_this_process, tear_down

_LOOK_S = 0.2
# Seconds from the start at which an edge comes, and how long is measured.
_SHAPES: tuple[tuple[str, Sequence[float], float, str], ...] = (
    ("canaries, no edge near", (), 10.0, "-"),
    ("canaries, an edge all the time", tuple(0.5 * n for n in range(20)), 10.0, "-"),
    ("canaries, a run of 30 s with one fault", (14.0, 15.0, 22.0, 23.0), 30.0, "≤ 1"),
)


async def share(bed: Testbed, edges: Sequence[float], lasts_s: float) -> float:
    """CPU time of the canaries over `lasts_s`, in percent of one core; the first second warms up and does not count."""
    with tempfile.TemporaryDirectory(prefix="chaosd-bench-") as folder:
        columns = Columns(Path(folder), "bench", CANARIES)
        canaries = Canaries(bed, SystemClock(), columns.append)
        probing = asyncio.create_task(canaries.run())
        await asyncio.sleep(1.0)
        began_s, cpu_s = time.monotonic(), time.process_time()
        left, flush_s = list(edges), FLUSH_S
        while (now_s := time.monotonic() - began_s) < lasts_s:
            while left and left[0] <= now_s:
                left.pop(0)
                canaries.edge()
            await asyncio.sleep(_LOOK_S)
            if time.monotonic() - began_s >= flush_s:
                columns.flush()
                flush_s += FLUSH_S
        spent_s, took_s = time.process_time() - cpu_s, time.monotonic() - began_s
        probing.cancel()
        with suppress(asyncio.CancelledError):
            await probing
        columns.close()
    return 100 * spent_s / took_s


async def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="chaosd-bench-state-") as state:
        os.environ["CHAOSD_STATE"] = state
        directory = announce("bench", provider="embedded", kept=True, owner=owner_of_this_process())
        try:
            bed = await Testbed.up(directory)
            figures = [[await share(bed, edges, lasts_s) for _ in range(rounds)] for _, edges, lasts_s, _ in _SHAPES]
        finally:
            await tear_down(directory)
    head()
    for (name, _, _, hold), values in zip(_SHAPES, figures, strict=True):
        show(name, values, "% of a core", hold)


if __name__ == "__main__":
    asyncio.run(main())
