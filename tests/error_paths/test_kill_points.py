"""Conductor, watchdog or both die at moments drawn from a fixed seed: whatever was broken is whole again.

A handful on the session's stack; `make chaos-self POINTS=100` does many, and its target as well.
"""

from __future__ import annotations

from pathlib import Path

import kill_points
import pytest
from kill_points import KillPoint, Point

from chaosd.kernel.clock import SystemClock
from chaosd.testbed import record as records
from chaosd.testbed.testbed import Testbed

SEED = 3
POINTS = 4


@pytest.fixture
async def bed(stack, tmp_path, monkeypatch):
    """The session's stack as a kept testbed in a state folder of its own."""
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    record = records.Record(name="session", marker=stack.record.marker, provider="embedded", kept=True)
    records.save(stack.folder, record)
    yield Testbed(stack.folder, stack, SystemClock())
    for part in stack.record.parts:
        await stack.start_part(part)
    await stack.repopulate()
    (stack.folder / records.FILE).unlink()


def quick(point: Point) -> bool:
    """Kafka takes seconds to start, and is left to the long run."""
    return (point.breach.fault, point.breach.on) not in {("kill", "kafka"), ("restart", "kafka")}


async def test_whoever_is_killed_at_whatever_moment_everything_is_whole_again(bed, tmp_path: Path):
    points = filter(quick, kill_points.draw(SEED, 1000, await kill_points.catalogue(bed)))
    wrong = []
    for _, point in zip(range(POINTS), points, strict=False):
        outcome = await KillPoint(bed, tmp_path, point).run()
        wrong += [f"{point}: {problem}" for problem in outcome.problems]
    assert wrong == []


def test_points_follow_from_their_seed_and_visit_every_fault_before_one_comes_twice():
    breaches = [kill_points.Breach("down", on, {}) for on in ("redis", "kafka", "postgres")]
    drawn = list(kill_points.draw(7, 60, breaches))
    assert drawn == list(kill_points.draw(7, 60, breaches))
    assert drawn != list(kill_points.draw(8, 60, breaches))
    for first in range(0, 60, 3):
        assert {point.breach.on for point in drawn[first : first + 3]} == {"redis", "kafka", "postgres"}
    assert {point.who for point in drawn} == set(kill_points.WHO)
    assert {point.when for point in drawn} == set(kill_points.WHEN)
