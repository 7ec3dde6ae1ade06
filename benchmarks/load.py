"""What generator and pipeline carry, beside the whole stack on the same machine.

    python benchmarks/load.py [rounds]

Runs experiments without a fault: one at 2,000 envelopes/s for the generator's lag behind its open-loop schedule, one at
1,000/s for the reference pipeline with its Redis and PostgreSQL effects. The capacity is that of the warm-up's burst.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _rounds import head, show

from chaosd.conductor.client import RunRequest, start
from chaosd.journal import history

EXPERIMENT = """\
chaosd: 1
title: Load without a fault
traffic: {{rate: {rate}/s, poison: 0%}}
timeline: []
"""


async def load(folder: Path, rate: int) -> dict[str, float]:
    """One run at `rate`; gives lags in ms and rates a second."""
    path = folder / f"load-{rate}.yaml"
    path.write_text(EXPERIMENT.format(rate=rate), encoding="utf-8")
    handle = await start(RunRequest(str(path), profile="quick", runs_dir=str(folder), seed=rate), folder / "log")
    events: list[dict[str, Any]] = [event async for event in handle.events()]
    run_dir = Path(next(event["run_dir"] for event in events if event["event"] == "run"))
    told = history.load(run_dir)
    sends, sightings = told.column("sends"), told.column("sightings")
    steady = next(segment for segment in told.run.segments if segment.phase == "baseline")
    inside = sends[sends["due_ns"] >= steady.start_ns]
    lag_ms = np.sort((inside["sent_ns"] - inside["due_ns"]) / 1e6)
    live = sightings[(sightings["topic"] == 1) & (sightings["final"] == 0)]
    burst = next(segment for segment in told.run.segments if segment.phase == "burst")
    seen = np.sort(live["seen_ns"][(live["seen_ns"] > burst.start_ns) & (live["seen_ns"] < steady.start_ns)])
    out = live[(live["seen_ns"] >= steady.start_ns)]
    span_s = (int(out["seen_ns"].max()) - int(out["seen_ns"].min())) / 1e9
    return {
        "lag_p50": float(lag_ms[len(lag_ms) // 2]),
        "lag_p99": float(lag_ms[int(len(lag_ms) * 0.99)]),
        "carried": (len(out) - 1) / span_s,
        "capacity": (len(seen) - 1) / ((int(seen[-1]) - int(seen[0])) / 1e9),
    }


async def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        fast = [await load(Path(folder), 2000) for _ in range(rounds)]
        plain = [await load(Path(folder), 1000) for _ in range(rounds)]
    head()
    show("generator at 2,000/s: lag p50", [run["lag_p50"] for run in fast], "ms", "-")
    show("generator at 2,000/s: lag p99", [run["lag_p99"] for run in fast], "ms", "< 5")
    show("pipeline offered 1,000/s: results", [run["carried"] for run in plain], "/s", "-")
    show("pipeline offered 2,000/s: results", [run["carried"] for run in fast], "/s", "≥ 1000")
    show("pipeline, capacity by burst", [run["capacity"] for run in plain + fast], "/s", "≥ 1000")


if __name__ == "__main__":
    asyncio.run(main())
