"""The confidence sequence: by hand, against its definition, and its coverage by simulation with a fixed seed."""

from __future__ import annotations

import math
import random

import pytest

from chaosd.verification.confidence import confidence


def test_without_runs_nothing_is_known():
    known = confidence([])
    assert (known.low, known.high, known.runs) == (0.0, 1.0, 0)


def test_sixty_successes_make_nine_of_ten_sure():
    known = confidence([True] * 60)
    # M(p) = B(60.5, 0.5) / B(0.5, 0.5) / p^60 reaches 20 here; B(60.5, 0.5) / B(0.5, 0.5) is C(120, 60) / 4^60.
    edge = (math.comb(120, 60) / 4**60 / 20) ** (1 / 60)
    assert known.low == pytest.approx(edge, abs=1e-4)
    assert known.low <= edge
    assert known.high == 1.0


def test_outside_are_those_for_which_the_martingale_of_the_definition_ever_reached_twenty():
    outcomes = [True] * 7 + [False] * 3
    known = confidence(outcomes)

    def richest(p):
        # B(a + s, b + f) / B(a, b) grows by (a + s) / (a + b + n) with a success: what the mixture expected of it.
        wealth, best, ahead = 1.0, 1.0, 0
        for n, success in enumerate(outcomes):
            share = (0.5 + ahead) / (1 + n)
            wealth *= share / p if success else (1 - share) / (1 - p)
            ahead += success
            best = max(best, wealth)
        return best

    for inside, outside in ((known.low + 2e-4, known.low), (known.high - 2e-4, known.high)):
        assert richest(outside) >= 20 > richest(inside)


def test_what_is_not_known_counts_both_ways():
    known = confidence([True] * 40 + [None] * 5)
    assert known.unknown == 5
    assert known.low < confidence([True] * 45).low
    assert known.high == 1.0
    assert confidence([False] * 40 + [None] * 5).high > confidence([False] * 45).high
    assert (confidence([None] * 9).low, confidence([None] * 9).high) == (0.0, 1.0)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_it_contains_the_truth_at_all_times_at_once_in_nineteen_of_twenty_series(p):
    """Each interval is the intersection of all before it: one that contains the truth has never missed it."""
    rng = random.Random(5)
    missed = 0
    for _ in range(400):
        outcomes = [rng.random() < p for _ in range(60)]
        known = confidence(outcomes)
        missed += not known.low <= p <= known.high
    assert missed <= 400 * 0.05


def test_hidden_outcomes_do_not_push_the_truth_out_whoever_hides_them():
    rng = random.Random(6)
    for hidden in (True, False):
        missed = 0
        for _ in range(200):
            outcomes = [rng.random() < 0.8 for _ in range(60)]
            known = confidence(None if one is hidden and rng.random() < 0.3 else one for one in outcomes)
            missed += not known.low <= 0.8 <= known.high
        assert missed <= 200 * 0.05
