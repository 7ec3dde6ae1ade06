"""Overlays of the traffic, from the schedule that is cut for them to the judge who counts what was sent."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import histories
import numpy as np
import pytest
from histories import STARTED_NS, VERIFIERS, injection

from chaosd.conductor.traffic import LEAD_NS, Schedule
from chaosd.experiment import overlays
from chaosd.experiment.plan import Segment, expand
from chaosd.experiment.spec import Traffic
from chaosd.experiment.timeline import TRAFFIC, Step
from chaosd.journal import join
from chaosd.journal.columns import ACKS, SENDS, Outcome
from chaosd.journal.facts import injections, segments
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade
from chaosd.verification.compose import judge
from chaosd.verification.exposure import gather, judge_fault


class Clock:
    def __init__(self) -> None:
        self.at_ns = 10 * SECOND

    def now_ns(self) -> int:
        return self.at_ns


class Told:
    """Facts, as a list."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []

    def append(self, kind: str, *, durable: bool = False, **fields: Any) -> int:
        self.facts.append({"kind": kind, "t_ns": len(self.facts), **fields})
        return 0


def step(name: str, at_s: float, for_s: float, **params: Any) -> Step:
    form = overlays.FORMS[name]
    return Step(
        f"1-{name}-traffic", round(at_s * SECOND), round(for_s * SECOND), name, TRAFFIC, "", form.params(**params)
    )


async def scheduled(*steps: Step, for_s: int = 6) -> tuple[list[Segment], Told, int]:
    """The segments of a fault phase of `for_s` seconds, and where its timeline begins."""
    clock, told = Clock(), Told()

    async def send(_: dict[str, object]) -> None:
        clock.at_ns = schedule.end_ns - 2 * LEAD_NS

    schedule = Schedule(Traffic(100.0, 4, (("not_json", 0.02),)), told, clock, send)
    await schedule.steady("baseline", SECOND)
    origin_ns = schedule.end_ns
    schedule.overlays.plan(steps, origin_ns)
    for _ in range(for_s):
        await schedule.steady("faults", SECOND)
    return list(segments(told.facts)), told, origin_ns


async def test_schedule_is_cut_at_the_edges_and_stays_without_a_gap():
    made, told, origin_ns = await scheduled(step("overload", 1.005, 2, rate="400/s"))
    for one, following in itertools.pairwise(made):
        assert one.start_ns + one.count * one.interval_ns == following.start_ns
        assert one.first + one.count == following.first
    loaded = [one for one in made if one.interval_ns == SECOND // 400]
    assert 0 <= loaded[0].start_ns - (origin_ns + 1_005 * MS) < 10 * MS
    assert sum(one.count for one in loaded) == pytest.approx(800, abs=6)
    (one,) = injections(told.facts)
    assert (one.state, one.call_ns) == ("healed", loaded[0].start_ns)
    assert one.clear_high_ns == loaded[-1].start_ns + loaded[-1].count * loaded[-1].interval_ns


async def test_poison_and_duplicates_overlap_and_survive_the_journal():
    made, told, _ = await scheduled(
        step("poison", 0, 2, share="48%", kind="not_json"), step("duplicates", 1, 2, share="30%")
    )
    kinds = {(dict(one.poison)["not_json"], one.duplicates) for one in made}
    assert kinds == {(0.02, 0.0), (0.5, 0.0), (0.5, 0.3), (0.02, 0.3)}
    assert all(one.overlay for one in injections(told.facts))


async def test_traffic_without_overlays_is_cut_as_ever():
    made, _, _ = await scheduled()
    assert [one.count for one in made] == [100] * 7


def sent_plan() -> tuple[join.Plan, Segment]:
    segment = Segment(0, "faults", 0, 40, 1_000, 10, 4, (), 0.5)
    return join.plan([segment], 7), segment


def sends_of(*rows: tuple[int, ...]) -> np.ndarray:
    return np.array(list(rows), SENDS.dtype)


def acks_of(*rows: tuple[int, ...]) -> np.ndarray:
    return np.array(list(rows), ACKS.dtype)


@pytest.mark.parametrize(
    ("first", "copy", "whole"),
    [
        (Outcome.ACKED, Outcome.ACKED, Outcome.ACKED),
        (Outcome.REJECTED, Outcome.ACKED, Outcome.ACKED),
        (Outcome.ACKED, Outcome.REJECTED, Outcome.ACKED),
        (Outcome.INDETERMINATE, Outcome.REJECTED, Outcome.INDETERMINATE),
        (Outcome.REJECTED, Outcome.INDETERMINATE, Outcome.INDETERMINATE),
        (Outcome.REJECTED, Outcome.REJECTED, Outcome.REJECTED),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_record_sent_twice_is_one_envelope_with_the_better_outcome(first, copy, whole, turned):
    plan, _ = sent_plan()
    acks = acks_of((1, 0, first, 0, 2, 100, 50, 0, 0), (1, 0, copy, 0, 2, 101, 60, 0, 1))
    acks = acks[::-1] if turned else acks
    join.sends(plan, sends_of((1, 0, 1_010, 20, 0, 0), (1, 0, 1_010, 21, 0, 1)), acks, (), 40, complete=True)
    row = plan.envelopes[plan.rows(np.array([1]), np.array([0]))[0]]
    assert row["outcome"] == whole
    assert row["sent_ns"] == 20
    if first == Outcome.ACKED:
        assert (row["in_offset"], row["acked_ns"]) == (100, 50)


def laid(name: str, **params: Any) -> histories.Written:
    """A history with an overlay from 20 s to 25 s of the run, and what was sent in it as planned."""
    one = step(name, 0, 5, **params)
    made = histories.history(
        injections=(
            injection(
                id="o", fault=name, on=TRAFFIC, bite=overlays.proofs(one), healed=(),
                returned_ns=STARTED_NS + 20 * SECOND, clear_high_ns=STARTED_NS + 25 * SECOND,
            ),
        )
    )  # fmt: skip
    return made


def with_sends(made: histories.Written, rows: np.ndarray, twice: np.ndarray) -> histories.Written:
    first = np.zeros(len(rows), SENDS.dtype)
    for column in ("stream", "seq", "due_ns"):
        first[column] = rows[column]
    first["sent_ns"] = rows["due_ns"]
    again = first[twice > 0].copy()
    again["copy"] = 1
    made.columns["sends"] = np.concatenate((first, again))
    return made


def planned(made: histories.Written) -> np.ndarray:
    return np.concatenate([expand(segment, made.run.seed) for segment in made.run.segments])


def bite_of(made: histories.Written) -> str:
    return judge_fault(made.run, gather(made), made.run.injections[0]).bite


@pytest.mark.parametrize(("rate", "bite"), [("200/s", "proved"), ("400/s", "missing")])
def test_an_overload_is_shown_by_what_was_sent_meanwhile(rate, bite):
    made = laid("overload", rate=rate)  # the history has 200/s throughout
    rows = planned(made)
    assert bite_of(with_sends(made, rows, np.zeros(len(rows)))) == bite


@pytest.mark.parametrize(("every", "bite"), [(3, "proved"), (30, "missing"), (0, "missing")])
def test_duplicates_are_shown_by_their_copies(every, bite):
    made = laid("duplicates", share="30%")
    rows = planned(made)
    twice = np.arange(len(rows)) % every == 0 if every else np.zeros(len(rows))
    assert bite_of(with_sends(made, rows, np.asarray(twice))) == bite


def test_poison_is_shown_by_the_kinds_that_were_sent():
    made = laid("poison", share="50%", kind="oversized")
    rows = planned(made)
    assert bite_of(with_sends(made, rows, np.zeros(len(rows)))) == "missing"
    more = tuple(replace(one, poison=(("oversized", 0.5),)) for one in made.run.segments)
    made.facts(segments=more)
    assert bite_of(with_sends(made, planned(made), np.zeros(len(rows)))) == "proved"


def test_an_overlay_is_an_episode_but_excuses_no_duplicate():
    made = laid("duplicates", share="30%")
    rows = planned(made)
    made = with_sends(made, rows, np.ones(len(rows)))
    made.expect(duplicates="allowed_during_faults")
    assert judge(made, VERIFIERS, with_certificate=False).recovery[0]["fault"] == "o"
    row = made.find(phase="faults")
    made.give(row, histories.Role.OUTPUT)
    verdict = histories.verdict_of(made, "no_duplicates")
    assert (verdict.grade, verdict.counts["DUP-ID"]) == (Grade.FAIL, 1)
