"""What a kill point promises, kind by kind: what is in time, and what is late."""

from __future__ import annotations

import pytest
from kill_points import Breach, Outcome, Point, Span, late

MEASURED = {"kafka": Span(end=400, start=2_000)}


def point(fault="restart", who="conductor", on="kafka"):
    return Point(1, Breach(fault, on, {}), who, "heal_intended", 5.0, 100)


@pytest.mark.parametrize(
    "seen",
    [
        Outcome(begun_ms=28, started_ms=1_183, whole_ms=3_000),
        Outcome(begun_ms=1_000, started_ms=1_600, whole_ms=4_600),
        Outcome(whole_ms=9_000),  # nothing had to be started
    ],
)
def test_a_process_has_the_time_that_ending_and_starting_take(seen):
    assert late(point(), seen, MEASURED) == []


@pytest.mark.parametrize(
    ("seen", "what"),
    [
        (Outcome(begun_ms=1_001, started_ms=900, whole_ms=3_000), "undo begun after 1001 ms, not within 1000"),
        (Outcome(begun_ms=28, started_ms=1_601, whole_ms=3_000), "restarted after 1601 ms, not within 1600"),
        (Outcome(begun_ms=28, started_ms=900, whole_ms=4_601), "serving after 4601 ms, not within 4600"),
        (Outcome(clear_ms=1_001), "clear after 1001 ms, not within 1000"),
    ],
)
def test_what_is_late_is_told(seen, what):
    assert late(point(), seen, MEASURED) == [what]


def test_what_ends_no_process_has_a_second_and_no_more():
    assert late(point("down"), Outcome(begun_ms=1, started_ms=1_183), MEASURED)
    assert late(point("pause"), Outcome(begun_ms=1, clear_ms=1_183), MEASURED)


def test_a_conductor_that_lives_heals_in_its_own_time():
    assert late(point(who="watchdog"), Outcome(begun_ms=5_000, clear_ms=5_000), MEASURED) == []
