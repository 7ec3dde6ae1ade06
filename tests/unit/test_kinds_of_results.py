"""Where an envelope owes several outputs, it has its result when it has them all, and none too many."""

from __future__ import annotations

import random

import numpy as np
import pytest

from chaosd.journal import kinds
from chaosd.journal.columns import Role
from chaosd.journal.model import ENVELOPES, JOINED, Owed, TopicFacts

TOPICS = (
    TopicFacts("in", Role.INPUT, 1),
    TopicFacts("a", Role.OUTPUT, 1),
    TopicFacts("b", Role.OUTPUT, 1),
    TopicFacts("table t", Role.TABLE, 1),
)
MAYBE, ROW = Owed(1, optional=True), Owed(1, late=True)


def whole(owed, *seen, finals=(0, 1)):
    """`seen`: (kind, offset, seen_ns) of results of the one envelope; gives its row."""
    envelopes = np.zeros(1, ENVELOPES)
    joined = np.zeros(len(seen) * len(finals), JOINED)
    for n, ((kind, offset, at), final) in enumerate((one, final) for one in seen for final in finals):
        joined[n]["topic"], joined[n]["type"] = 1 + min(kind, 1), kind
        joined[n]["offset"], joined[n]["seen_ns"], joined[n]["final"] = offset, at + 1000 * final, final
    kinds.whole(envelopes, joined, TOPICS, [one if isinstance(one, Owed) else Owed(one) for one in owed])
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


def test_what_is_optional_is_not_waited_for_but_one_too_many_is():
    assert whole((1, MAYBE), (0, 1, 10))["n_output"] == 1
    assert whole((1, MAYBE), (0, 1, 10), (1, 1, 30)) == {
        "n_output": 1, "live_output": 1, "n_more": 0, "first_output_ns": 10,
    }  # fmt: skip
    assert whole((1, MAYBE), (1, 1, 30))["n_output"] == 0
    assert whole((1, MAYBE), (0, 1, 10), (1, 1, 30), (1, 2, 31))["n_more"] == 1


def test_where_all_is_optional_the_first_that_came_is_the_result():
    assert whole((MAYBE, MAYBE), (1, 1, 30), (0, 1, 40))["first_output_ns"] == 30
    assert whole((MAYBE, MAYBE)) == {"n_output": 0, "live_output": 0, "n_more": 0, "first_output_ns": -1}


def with_row(*seen, rows=1):
    """Results seen live and afresh, and rows of the table, which are read at the end alone."""
    envelopes = np.zeros(1, ENVELOPES)
    told = [(kind, offset, at + 1000 * final, final) for kind, offset, at in seen for final in (0, 1)]
    joined = np.zeros(len(told) + rows, JOINED)
    for n, (kind, offset, at, final) in enumerate(told + [(1, n, 5000, 1) for n in range(rows)]):
        joined[n]["topic"], joined[n]["type"] = 1 if kind == 0 else 3, kind
        joined[n]["offset"], joined[n]["seen_ns"], joined[n]["final"] = offset, at, final
    kinds.whole(envelopes, joined, TOPICS, (Owed(1), ROW))
    return {name: int(envelopes[0][name]) for name in ("n_output", "live_output", "n_more", "first_output_ns")}


def test_a_row_of_a_table_belongs_to_the_result_and_its_time_does_not_count():
    assert with_row((0, 1, 10)) == {"n_output": 1, "live_output": 1, "n_more": 0, "first_output_ns": 10}


def test_without_its_row_an_envelope_has_no_result():
    assert with_row((0, 1, 10), rows=0) == {"n_output": 0, "live_output": 1, "n_more": 0, "first_output_ns": -1}


def test_a_row_too_many_is_a_duplicate():
    assert with_row((0, 1, 10), rows=2)["n_more"] == 1


def naive(owed, seen):
    """The definitions once more, with sets and dictionaries: `seen` are (kind, offset, at, final)."""
    found = {}
    for column, finals, late in (
        ("n_output", (0, 1), True),
        ("live_output", (0,), False),
        ("fresh_output", (1,), True),
    ):
        judged = {kind: one for kind, one in enumerate(owed) if late or not one.late}
        count = {kind: len({(k, o) for k, o, _, final in seen if k == kind and final in finals}) for kind in judged}
        wanted = [kind for kind, one in judged.items() if not one.optional]
        came = all(count[kind] >= owed[kind].count for kind in wanted) and any(count.values())
        most = max(max(0, count[kind] - one.count) for kind, one in judged.items())
        found[column] = 1 + most if came else 0
        if column == "n_output":
            found["n_more"] = most
    times = {}
    for kind, one in enumerate(owed):
        live = {}
        for k, offset, at, final in seen:
            if k == kind and not final:
                live[offset] = min(at, live.get(offset, at))
        ordered = sorted(live.values())
        if not one.late and (ordered if one.optional else len(ordered) >= one.count):
            times[kind] = ordered[0 if one.optional else one.count - 1]
    waited = [kind for kind, one in enumerate(owed) if not one.optional and not one.late]
    if waited:
        at = max(times[kind] for kind in waited) if all(kind in times for kind in waited) else -1
    else:
        at = min(times.values(), default=-1)
    found["first_output_ns"] = at if found["n_output"] else -1
    return found


def test_two_ways_to_count_agree():
    chance = random.Random(11)
    for _ in range(400):
        owed = [Owed(chance.randint(1, 2), optional=chance.random() < 0.4) for _ in range(chance.randint(1, 3))]
        owed += [Owed(1, optional=chance.random() < 0.3, late=True)] * chance.randint(0, 1)
        seen = sorted(
            {(kind, chance.randint(0, 2), final): chance.randint(0, 50) for kind in range(len(owed)) for final in (0, 1)
             for _ in range(chance.randint(0, 3)) if final or not owed[kind].late}.items()
        )  # fmt: skip
        told = [(kind, offset, at, final) for (kind, offset, final), at in seen]
        envelopes, joined = np.zeros(1, ENVELOPES), np.zeros(len(told), JOINED)
        for n, (kind, offset, at, final) in enumerate(told):
            joined[n]["topic"], joined[n]["partition"] = (3 if owed[kind].late else 1), kind
            joined[n]["type"], joined[n]["offset"], joined[n]["seen_ns"] = kind, offset, at
            joined[n]["final"] = final
        kinds.whole(envelopes, joined, TOPICS, owed)
        wanted = naive(owed, told)
        assert {name: int(envelopes[0][name]) for name in wanted} == wanted, (owed, told)
