"""Chaos for chaosd itself: many random kill points on one real stack. `make chaos-self POINTS=100 SEED=1`.

Prints a line for each point and a summary; exit code 0 when every promise was kept at every point, 1 otherwise, 2 when
there is no stack.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import kill_points
from kill_points import KillPoint, Outcome, Point

from chaosd.kernel.errors import ChaosdError
from chaosd.target.reference.store import SCHEMA
from chaosd.testbed.testbed import Testbed, announce, owner_of_this_process, tear_down

_POINT_S = 180.0


async def points(folder: Path, seed: int, drawn: int, only: int | None) -> list[tuple[Point, Outcome, list[str]]]:
    """All points on one testbed, which is taken down afterwards."""
    directory = announce("chaos-self", provider="embedded", kept=True, owner=owner_of_this_process())
    done: list[tuple[Point, Outcome, list[str]]] = []
    try:
        bed = await Testbed.up(directory)
        await bed.deploy("reference")
        await bed.target_ready()
        await _tables(bed)
        breaches = await kill_points.catalogue(bed)
        measured = await kill_points.spans(bed, breaches)
        for on, span in measured.items():
            print(f"measured: {on} ends in {span.end:.0f} ms and serves {span.start:.0f} ms after its start")
        print(f"{drawn} points over {len(breaches)} faults, seed {seed}", flush=True)
        for point in kill_points.draw(seed, drawn, breaches):
            if only is not None and point.number != only:
                continue
            one = KillPoint(bed, folder, point)
            outcome = one.outcome
            try:
                async with asyncio.timeout(_POINT_S):
                    await one.run()
            except TimeoutError:
                outcome.problems.append(f"not done after {_POINT_S:g} s")
            wrong = [*outcome.problems, *kill_points.late(point, outcome, measured)]
            done.append((point, outcome, wrong))
            print(f"{'ok  ' if not wrong else 'FAIL'} {point}: {_told(outcome)}", flush=True)
            for problem in wrong:
                print(f"     {problem}", flush=True)
    finally:
        await tear_down(directory)
    return done


async def _tables(bed: Testbed) -> None:
    """The target makes its tables with its first event, and gets none here; some faults are about a table."""
    connection = await asyncpg.connect(bed.stack.endpoints.direct.postgres.dsn)
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()


def _told(outcome: Outcome) -> str:
    times = {
        "begun": outcome.begun_ms,
        "clear": outcome.clear_ms,
        "restarted": outcome.started_ms,
        "whole": outcome.whole_ms,
    }
    return ", ".join(f"{what} {ms:.0f} ms" for what, ms in times.items() if ms is not None)


def summary(done: Sequence[tuple[Point, Outcome, list[str]]]) -> None:
    """The figures that the promises are about, and how many points kept them."""
    for who in kill_points.WHO:
        for what in ("begun_ms", "clear_ms", "started_ms", "whole_ms"):
            seen = sorted(ms for point, outcome, _ in done if point.who == who and (ms := getattr(outcome, what)))
            if seen and who != "watchdog":
                figures = f"median {statistics.median(seen):.0f} ms, most {seen[-1]:.0f} ms, n {len(seen)}"
                print(f"{who} killed, {what.removesuffix('_ms')}: {figures}")
    kept = sum(not wrong for _, _, wrong in done)
    print(f"{kept} of {len(done)} kill points kept every promise")


def main() -> int:
    """Read the options, run the points, tell the summary."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--points", type=int, default=100)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--only", type=int, help="do this point only")
    given = options.parse_args()
    # `timeout` and CI end us by SIGTERM: the stack is taken down then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="chaos-self-") as folder:
        os.environ["CHAOSD_STATE"] = str(Path(folder) / "state")
        try:
            done = asyncio.run(points(Path(folder), given.seed, given.points, given.only))
        except ChaosdError as error:
            print(f"chaos-self: {error}", file=sys.stderr)
            return 2
    summary(done)
    return 0 if done and all(not wrong for _, _, wrong in done) else 1


if __name__ == "__main__":
    sys.exit(main())
