"""The plan of the traffic: everything about an envelope follows from the seed and its number alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosd.envelope.poison import KINDS
from chaosd.experiment.plan import TWICE, Segment, chance, expand, global_index, kind_of

# A busy machine is no reason to fail; each example takes microseconds.
settings.register_profile("chaosd", deadline=None, max_examples=60)
settings.load_profile("chaosd")

POISON = (("not_json", 0.05), ("oversized", 0.01), ("wrong_type", 0.2))


def segment(first: int, count: int, poison=POISON, streams: int = 4, start_ns: int = 1_000) -> Segment:
    return Segment(0, "faults", first, count, start_ns, 10, streams, poison)


@given(st.integers(0, 2**64), st.integers(0, 10**9), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_envelopes_do_not_depend_on_how_the_run_is_cut(seed, first, counts):
    whole = expand(segment(first, sum(counts)), seed)
    parts, at = [], first
    for count in counts:
        parts.append(expand(segment(at, count, start_ns=1_000 + (at - first) * 10), seed))
        at += count
    assert np.array_equal(whole, np.concatenate(parts))


@given(st.integers(0, 2**64), st.integers(0, 2**40), st.integers(1, 64))
def test_one_envelope_is_of_the_kind_that_the_whole_plan_gives_it(seed, first, streams):
    rows = expand(segment(first, 40, streams=streams), seed)
    for offset, row in enumerate(rows):
        k = first + offset
        assert global_index(int(row["stream"]), k // streams, streams) == k
        assert kind_of(seed, k, POISON) == row["kind"]


def test_streams_take_turns_and_each_is_dense():
    rows = expand(segment(8, 400), 1)
    for stream in range(4):
        own = rows[rows["stream"] == stream]
        assert own["seq"].tolist() == list(range(2, 102))


def test_due_times_are_an_open_loop():
    assert expand(segment(0, 5), 1)["due_ns"].tolist() == [1_000, 1_010, 1_020, 1_030, 1_040]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 12345])
def test_shares_of_poison_are_what_was_asked_for(seed):
    kinds = expand(segment(0, 200_000), seed)["kind"]
    for kind, share in POISON:
        assert np.mean(kinds == 1 + KINDS.index(kind)) == pytest.approx(share, abs=0.004)
    assert np.mean(kinds == 0) == pytest.approx(0.74, abs=0.005)


@given(st.integers(0, 2**64), st.integers(0, 2**40), st.floats(0.01, 1.0))
def test_whether_one_envelope_is_sent_twice_is_what_the_whole_plan_says(seed, first, share):
    """And it does not depend on how the run is cut, nor change what is spoiled."""
    whole = replace(segment(first, 40), duplicates=share)
    rows = expand(whole, seed)
    for offset, row in enumerate(rows):
        k = first + offset
        drawn = (chance(seed ^ TWICE, k) >> 11) / float(1 << 53) < share
        assert row["twice"] == (drawn and kind_of(seed, k, POISON) == 0)
    cut = expand(replace(segment(first + 13, 27, start_ns=1_130), duplicates=share), seed)
    assert np.array_equal(rows[13:], cut)
    assert np.array_equal(rows["kind"], expand(segment(first, 40), seed)["kind"])


def test_a_share_of_ordinary_envelopes_is_sent_twice_and_no_spoiled_one():
    rows = expand(replace(segment(0, 100_000), duplicates=0.3), 7)
    assert np.mean(rows["twice"][rows["kind"] == 0]) == pytest.approx(0.3, abs=0.01)
    assert not rows["twice"][rows["kind"] > 0].any()
    assert not expand(segment(0, 1000), 7)["twice"].any()


def test_without_poison_nothing_is_spoiled():
    assert not expand(segment(0, 10_000, poison=()), 7)["kind"].any()


def test_another_seed_spoils_other_envelopes():
    assert not np.array_equal(expand(segment(0, 1000), 1)["kind"], expand(segment(0, 1000), 2)["kind"])


def test_chance_is_splitmix64():
    # The first outputs of the generator from state 0, as published with it.
    assert [chance(0, k) for k in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
