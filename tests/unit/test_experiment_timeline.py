"""Timelines: repeated, drawn and overlapping steps, and overlays of the traffic."""

from __future__ import annotations

import itertools

import pytest
from experiment_files import FAULTS, REPEATED, STEP, file, parse, refused
from hypothesis import given
from hypothesis import strategies as st

from chaosd.experiment import document, overlays
from chaosd.experiment.parse import resolve
from chaosd.experiment.spec import Experiment
from chaosd.experiment.windows import Repeated, Span, occurrences
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.errors import SourceError


def test_a_step_is_repeated_so_often_or_so_long():
    made = parse(file(REPEATED.format("every: 2s, times: 3")))
    assert [step.at_ns for step in made.timeline] == [0, 2 * SECOND, 4 * SECOND]
    assert [step.id for step in made.timeline] == ["1-down-redis", "2-down-redis", "3-down-redis"]
    made = parse(file(REPEATED.format("every: 2s, until: 4s")))
    assert [step.at_ns for step in made.timeline] == [0, 2 * SECOND]


def test_a_process_may_be_ended_at_once_again_and_again():
    assert len(parse(file("{at: 0s, fault: kill, on: target, repeat: {every: 4s, times: 3}}")).timeline) == 3


DRAWN = "{at: {between: [1s, 9s]}, for: {between: [1s, 3s]}, fault: down, on: redis}"


def test_what_is_drawn_follows_from_the_seed_and_lies_in_its_window():
    steps = [parse(file(DRAWN), seed=seed).timeline[0] for seed in range(50)]
    assert steps == [parse(file(DRAWN), seed=seed).timeline[0] for seed in range(50)]
    assert len({step.at_ns for step in steps}) > 40
    assert all(SECOND <= step.at_ns <= 9 * SECOND and SECOND <= step.for_ns <= 3 * SECOND for step in steps)
    assert all(step.at_ns % MS == 0 for step in steps)
    assert steps[0].to_json()["drawn"] == ["at", "for"]


def test_what_is_drawn_for_a_line_does_not_depend_on_those_after_it():
    alone, both = parse(file(DRAWN), seed=7), parse(file(DRAWN + "\n" + DRAWN.replace("redis", "kafka")), seed=7)
    assert next(one for one in both.timeline if one.on == "redis").at_ns == alone.timeline[0].at_ns


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(0, 5), st.integers(2, 6))
def test_repetitions_of_a_drawn_step_never_overlap_and_stay_where_they_may_be(seed, at_ms, jitter_ms, times):
    every = Span((20 + jitter_ms) * MS, (30 + jitter_ms) * MS)
    lasts = Span(10 * MS, (19 + jitter_ms) * MS)
    found = list(occurrences(0, Span(at_ms * MS, 2 * at_ms * MS), lasts, Repeated(every, times, None), seed))
    assert len(found) == times
    for one, following in itertools.pairwise(found):
        assert one.at_ns + one.for_ns < following.at_ns
    assert all(one.earliest_ns <= one.at_ns and one.at_ns + one.for_ns <= one.latest_ns for one in found)


def overlaid(line: str, more: str = "") -> Experiment:
    return resolve(document.parse(file(line, more), "x.yaml"), {**FAULTS, **overlays.FORMS}, name="x")


def test_an_overlay_of_the_traffic_needs_no_on_and_is_no_fault():
    made = overlaid("{at: 1s, for: 2s, fault: overload, rate: 900/s}\n" + STEP)
    assert [step.id for step in made.overlays] == ["2-overload-traffic"]
    assert [step.id for step in made.faults] == ["1-down-redis"]
    assert made.observe_ns > 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{at: 0s, for: 1s, fault: overload, rate: 300/s}", ("no overload", "above the traffic's own 500/s")),
        ("{at: 0s, for: 1s, fault: overload, rate: 60000/s}", ("timeline[0].rate", "at most 50000/s")),
        ("{at: 0s, for: 1s, fault: poison, share: 0%}", ("above 0%",)),
        ("{at: 0s, for: 1s, fault: poison, share: 99%}", ("more than all", "traffic's own 2%")),
        ("{at: 0s, for: 1s, fault: poison, share: 9%, kind: not_jsn}", ("did you mean 'not_json'?",)),
        ("{at: 0s, for: 1s, fault: duplicates, share: 9%, on: kafka}", ("cannot be done to this", "traffic")),
        ("{at: 0s, fault: duplicates, share: 9%}", ("`for` is missing",)),
        ("{at: 0s, for: 2s, fault: poison, share: 9%}\n{at: 1s, for: 2s, fault: poison, share: 9%}", ("poison twice",)),
        ("{at: 0s, for: 2s, fault: down}", ("the key 'on' is missing", "redis")),
    ],
)
def test_what_cannot_be_laid_over_the_traffic_is_told(line, words):
    with pytest.raises(SourceError) as caught:
        overlaid(line, "traffic: {poison: 2%}")
    assert all(word in caught.value.message for word in words), caught.value.message


def test_the_mix_changes_at_the_edges_of_overlays():
    made = overlaid(
        "{at: 1s, for: 2s, fault: overload, rate: 900/s}\n{at: 2s, for: 2s, fault: poison, share: 12%}\n"
        "{at: 3s, for: 1s, fault: duplicates, share: 30%}",
        "traffic: {poison: {not_json: 1%}}",
    )
    told = [overlays.mix(made.traffic, made.overlays, at_s * SECOND) for at_s in range(5)]
    assert [one.rate_hz for one in told] == [500, 900, 900, 500, 500]
    assert [round(sum(share for _, share in one.poison), 6) for one in told] == [0.01, 0.01, 0.13, 0.13, 0.01]
    assert dict(told[2].poison)["not_json"] == pytest.approx(0.03)
    assert [one.duplicates for one in told] == [0, 0, 0, 0.3, 0]
    edges, at_ns = [], 0
    while (at_ns := overlays.next_edge_ns(made.overlays, at_ns)) is not None:
        edges.append(at_ns // SECOND)
    assert edges == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "steps",
    [
        f"{STEP}\n{STEP}",
        f"{STEP}\n{{at: 4s, for: 1s, fault: down, on: redis}}",
        "{at: 0s, for: 4s, fault: pause, on: target}\n{at: 2s, for: 1s, fault: kill, on: target}",
        "{at: 2s, for: 1s, fault: kill, on: kafka}\n{at: 0s, for: 4s, fault: restart, on: kafka}",
        "{at: 0s, fault: restart, on: redis}\n{at: 0s, fault: kill, on: redis}",
        "{at: 0s, for: 4s, fault: flap, on: redis}\n{at: 1s, for: 1s, fault: down, on: redis}",
        f"{{at: 0s, for: 1s, fault: down, repeat: {{every: 5s, times: 3}}, on: redis}}\n{STEP.replace('0s', '7s', 1)}",
        "{at: 0s, for: 4s, fault: refusal, on: redis}\n{at: 1s, for: 1s, fault: flush, on: redis}",
        "{at: 1s, for: 9s, fault: quota, on: kafka}\n{at: 0s, for: 2s, fault: refusal, on: kafka}",
        # With some seeds they would not meet.
        f"{STEP}\n{{at: {{between: [0s, 100s]}}, for: 1s, fault: down, on: redis}}",
        f"{STEP.replace('for: 4s', 'for: {between: [1s, 5s]}')}\n{{at: 5s, for: 1s, fault: down, on: redis}}",
    ],
)
def test_steps_that_cannot_be_done_together_are_refused_at_the_later_line(steps):
    message = refused(file(steps))
    assert "x.yaml:6:5: timeline[1]" in message
    assert "at the same time" in message


@pytest.mark.parametrize(
    "steps",
    [
        f"{STEP}\n{STEP.replace('redis', 'kafka')}",
        f"{STEP}\n{{at: 4.1s, for: 1s, fault: down, on: redis}}",
        f"{STEP}\n{{at: 1s, for: 1s, fault: restart, on: redis}}",
        "{at: 0s, for: 4s, fault: refusal, on: redis}\n{at: 1s, for: 1s, fault: kill, on: redis}",
        "{at: 0s, for: 4s, fault: refusal, on: redis}\n{at: 1s, for: 1s, fault: quota, on: kafka}",
        f"{STEP}\n{{at: 1s, for: 1s, fault: refusal, on: redis}}",
        "{at: 0s, for: 4s, fault: pause, on: target}\n{at: 2s, for: 1s, fault: kill, on: kafka}",
    ],
)
def test_steps_that_can_be_done_together_are_not(steps):
    assert len(parse(file(steps)).timeline) == 2
