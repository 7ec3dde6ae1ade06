"""Where an envelope owes several outputs, it has its result when it has them all, and none too many."""

from __future__ import annotations

import numpy as np
import pytest

from chaosd.journal import kinds
from chaosd.journal.columns import Role
from chaosd.journal.model import ENVELOPES, JOINED, TopicFacts

TOPICS = (TopicFacts("in", Role.INPUT, 1), TopicFacts("a", Role.OUTPUT, 1), TopicFacts("b", Role.OUTPUT, 1))


def whole(owed, *seen, finals=(0, 1)):
    """`seen`: (kind, offset, seen_ns) of results of the one envelope; gives its row."""
    envelopes = np.zeros(1, ENVELOPES)
    joined = np.zeros(len(seen) * len(finals), JOINED)
    for n, ((kind, offset, at), final) in enumerate((one, final) for one in seen for final in finals):
        joined[n]["topic"], joined[n]["type"] = 1 + min(kind, 1), kind
        joined[n]["offset"], joined[n]["seen_ns"], joined[n]["final"] = offset, at + 1000 * final, final
    kinds.whole(envelopes, joined, TOPICS, owed)
    return {name: int(envelopes[0][name]) for name in ("n_output", "live_output", "n_more", "first_output_ns")}


def test_a_whole_set_is_one_result_since_its_last_record():
    assert whole((1, 1), (0, 1, 10), (1, 1, 30)) == {
        "n_output": 1, "live_output": 1, "n_more": 0, "first_output_ns": 30,
    }  # fmt: skip


def test_without_one_of_them_there_is_no_result():
    assert whole((1, 1), (0, 1, 10)) == {"n_output": 0, "live_output": 0, "n_more": 0, "first_output_ns": -1}


def test_several_of_one_kind_are_counted():
    assert whole((2,), (0, 1, 10))["n_output"] == 0
    assert whole((2,), (0, 1, 10), (0, 2, 20)) == {
        "n_output": 1, "live_output": 1, "n_more": 0, "first_output_ns": 20,
    }  # fmt: skip


def test_one_too_many_is_more_even_beside_one_that_is_missing():
    assert whole((1, 1), (0, 1, 10), (0, 2, 20), (1, 1, 30))["n_output"] == 2
    found = whole((1, 1), (0, 1, 10), (0, 2, 20))
    assert (found["n_output"], found["n_more"]) == (0, 1)


def test_a_record_of_no_kind_belongs_to_no_set():
    assert whole((1,), (255, 1, 10))["n_output"] == 0


@pytest.mark.parametrize("owed", [()])
def test_one_output_of_any_kind_is_left_as_it_is(owed):
    assert whole(owed, (0, 1, 10))["n_output"] == 0
