"""Several input topics before the judge: partitions are counted through, and nothing is judged otherwise for that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from histories import (
    STARTED_NS,
    TOPICS,
    VERIFIERS,
    Written,
    found,
    history,
    injection,
    plain,
    segments,
    verdict_of,
)

from chaosd.experiment.plan import Segment
from chaosd.journal import facts as said
from chaosd.journal import inputs, join, kinds
from chaosd.journal.columns import ACKS, NO_STREAM, SENDS, SIGHTINGS, Role
from chaosd.journal.model import ENVELOPES, JOINED, DrainFacts, Owed, TopicFacts
from chaosd.kernel.clock import SECOND
from chaosd.kernel.verdict import Grade
from chaosd.report import telling
from chaosd.verification.case import open_case
from chaosd.verification.certificate import certify
from chaosd.verification.lifeline import story

SEVERAL = (
    TopicFacts("orders", Role.INPUT, 3),
    TopicFacts("bills", Role.OUTPUT, 2),
    TopicFacts("refunds", Role.INPUT, 2),
    TopicFacts("dlq", Role.DLQ, 1),
)
ORDERS, BILLS, REFUNDS, DLQ = range(4)
STREAMS = 2


# --- numbers of input partitions


def test_partitions_are_counted_through_the_inputs_and_those_of_other_topics_are_their_own():
    topic = np.array([ORDERS, ORDERS, REFUNDS, REFUNDS, REFUNDS, BILLS, DLQ], np.uint8)
    partition = np.array([0, 2, 0, 1, -1, 1, 0], np.int16)
    assert inputs.numbers(topic, partition, SEVERAL).tolist() == [0, 2, 3, 4, -1, 1, 0]
    assert inputs.places(SEVERAL) == [(ORDERS, 0), (ORDERS, 1), (ORDERS, 2), (REFUNDS, 0), (REFUNDS, 1)]
    assert inputs.firsts([("orders", 3), ("refunds", 2)]) == {"orders": 0, "refunds": 3}


def test_of_one_input_a_partition_is_its_own_number():
    partition = np.arange(-1, 2, dtype=np.int16)
    assert inputs.numbers(np.zeros(3, np.uint8), partition, TOPICS).tolist() == [-1, 0, 1]


# --- the join

# Envelope k is of stream k % 2: stream 0 goes to orders/1, stream 1 to refunds/1.
PLACES = ((ORDERS, 1), (REFUNDS, 1))


def sighting(topic: int, partition: int, offset: int, stream: int, seq: int, **more: int) -> tuple[int, ...]:
    row = dict.fromkeys(SIGHTINGS.dtype.names or (), 0) | {"origin_partition": -1, "origin_offset": -1}
    row |= {"topic": topic, "partition": partition, "offset": offset, "stream": stream, "seq": seq} | more
    return tuple(row.values())


def joined(*more: tuple[int, ...], acked: int = 6) -> tuple[join.Plan, np.ndarray]:
    """Six envelopes, offset of each in its own partition is its seq; `more` sightings beside those of the inputs."""
    plan = join.plan([Segment(0, "tail", 0, 6, 0, 10, STREAMS)], 1)
    who = [(k % STREAMS, k // STREAMS) for k in range(6)]
    sends = np.array([(*one, 0, 1, PLACES[one[0]][0], 0) for one in who], SENDS.dtype)
    acks = np.array([(*one, 0, *PLACES[one[0]], one[1], 2, 0, 0) for one in who[:acked]], ACKS.dtype)
    seen = np.array([*(sighting(*PLACES[one[0]], one[1], *one) for one in who[:acked]), *more], SIGHTINGS.dtype)
    join.sends(plan, sends, acks, SEVERAL, 6, complete=True)
    made = join.sightings(plan, seen, SEVERAL)
    join.results(plan, made, SEVERAL)
    return plan, made


def test_an_envelope_is_in_the_partition_of_its_own_topic_by_its_acknowledgement_and_by_the_log():
    plan, made = joined()
    assert plan.envelopes["in_partition"].tolist() == [1, 1, 1, 4, 4, 4]
    join.input_log(plan, made, SEVERAL, read_whole=True)
    assert plan.envelopes["in_partition"].tolist() == [1, 1, 1, 4, 4, 4]
    assert plan.envelopes["in_offset"].tolist() == [0, 1, 2, 0, 1, 2]


def test_commits_of_one_topic_say_nothing_of_the_other():
    plan, made = joined()
    join.input_log(plan, made, SEVERAL, read_whole=True)
    join.commits(plan, {1: 3, 4: 1})
    assert plan.envelopes["committed"].tolist() == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(("number", "stream"), [(1, 0), (4, 1), (0, None), (3, None), (5, None)])
def test_a_nameless_letter_is_of_the_record_whose_topic_partition_and_offset_it_names(number, stream):
    """Both topics have a partition 1 with an offset 2."""
    letter = sighting(DLQ, 0, 0, NO_STREAM, 0, origin_partition=number, origin_offset=2)
    plan, _ = joined(letter)
    got = [(int(row["stream"]), int(row["seq"])) for row in plan.envelopes.rows() if row["n_dlq"]]
    assert got == ([] if stream is None else [(stream, 2)])


# --- what each input owes


def whole(owed: list[Owed], *seen: tuple[int, int, int]) -> np.ndarray:
    """`seen`: (stream, kind, seen_ns) of results of the first envelope of each of two streams."""
    envelopes = np.zeros(2, ENVELOPES)
    envelopes["stream"] = [0, 1]
    rows = np.zeros(len(seen), JOINED)
    for n, (stream, kind, at_ns) in enumerate(seen):
        rows[n]["topic"], rows[n]["type"], rows[n]["offset"] = BILLS, kind, n
        rows[n]["row"], rows[n]["seen_ns"] = stream, at_ns
    kinds.whole(envelopes, rows, SEVERAL, owed)
    return envelopes


BY_STREAM = [Owed(1, streams=(0,)), Owed(1, streams=(1,)), Owed(1)]


def test_each_envelope_waits_for_what_its_own_input_owes():
    made = whole(BY_STREAM, (0, 0, 10), (0, 2, 20), (1, 1, 30), (1, 2, 25))
    assert made["n_output"].tolist() == [1, 1]
    assert made["first_output_ns"].tolist() == [20, 30]


def test_what_another_input_owes_does_not_stand_for_what_is_missing():
    made = whole(BY_STREAM, (0, 0, 10), (0, 2, 20), (1, 2, 25))
    assert made["n_output"].tolist() == [1, 0]
    assert made["first_output_ns"].tolist() == [20, -1]
    made = whole(BY_STREAM, (0, 0, 10), (0, 2, 20), (1, 0, 30), (1, 2, 25))
    assert (made["n_output"].tolist(), made["n_more"].tolist()) == ([1, 0], [0, 1])


def test_what_nobody_owes_is_one_too_many():
    assert whole(BY_STREAM, (0, 0, 10), (0, 2, 20), (0, 1, 30))["n_output"].tolist() == [2, 0]


# --- facts


def test_the_drain_is_told_by_topic_and_partition_and_kept_by_number():
    rows = [
        {"topic": "orders", "partition": 1, "proved": True, "input_end": 5, "committed": 5},
        {
            "topic": "refunds",
            "partition": 1,
            "proved": False,
            "input_end": 7,
            "committed": 6,
            "why": "committed 6 of 7",
        },
    ]
    told = said.drain([{"kind": "drain", "partitions": rows}], SEVERAL)
    assert told == {1: DrainFacts(1, True, 5, 5), 4: DrainFacts(4, False, 7, 6, "committed 6 of 7")}


def test_a_journal_of_before_names_no_topic():
    rows = [{"partition": 1, "proved": True, "input_end": 5, "committed": 5}]
    assert said.drain([{"kind": "drain", "partitions": rows}], TOPICS) == {1: DrainFacts(1, True, 5, 5)}


def test_what_is_owed_is_kept_by_streams():
    target = {"results": [1, 2], "optional": [1], "late": [], "dealt": [0, 1, 0], "owing": [[0], [0, 1]]}
    owed = (Owed(1, streams=(0, 2)), Owed(2, optional=True, streams=(0, 1, 2)))
    assert said.results({"target": target}) == owed
    assert said.results({"target": {**target, "dealt": [], "owing": []}}) == (Owed(1), Owed(2, optional=True))


# --- verdicts: the same history, its one input with two partitions told as two inputs with one each

TWO = (TopicFacts("in", Role.INPUT, 1), TopicFacts("in2", Role.INPUT, 1), *TOPICS[1:])


def as_two(written: Written) -> Written:
    """The same run with each input partition as a topic of its own."""
    for rows in (written.sightings, written.columns["progress"]):
        own = rows["topic"] == 0
        rows["topic"] += (~own | (rows["partition"] == 1)).astype(np.uint8)
        rows["partition"][own] = 0
    return written.facts(topics=TWO)


def standing_still(written: Written) -> Written:
    """Of the second input nothing comes, and nothing is committed, from the middle of the run on."""
    since_ns = STARTED_NS + 22 * SECOND
    progress = written.columns["progress"]
    here = progress["partition"] == 1
    top = progress["committed"][here & (progress["t_ns"] <= since_ns)].max()
    progress["committed"][here] = np.minimum(progress["committed"][here], top)
    rows = written.rows
    for row in np.flatnonzero((rows["in_partition"] == 1) & (rows["in_offset"] >= top)):
        written.lose(int(row))
        rows["committed"][row] = 0
    drain = dict(written.run.drain or {})
    return written.facts(drain={**drain, 1: DrainFacts(1, False, 1 << 20, int(top))})


def losing(written: Written) -> Written:
    written.lose(written.find(phase="tail", nth=5))
    return written


@pytest.mark.parametrize("change", [lambda written: written, losing, standing_still], ids=["right", "lost", "still"])
def test_the_verdict_does_not_depend_on_which_partitions_are_one_topic(change: Callable[[Written], Written]):
    one, two = change(plain()), as_two(change(plain()))
    for verifier in VERIFIERS:
        before, after = (verdict_of(written, verifier.name, unlimited=True) for written in (one, two))
        assert (after.grade, after.reasons, after.counts) == (before.grade, before.reasons, before.counts), (
            verifier.name
        )
        who = [[(w.anomaly, w.stream, w.seq) for w in verdict.witnesses] for verdict in (before, after)]
        assert who[0] == who[1]


def test_a_standstill_of_one_input_is_found_though_the_other_goes_on():
    grade, told = found(as_two(standing_still(plain())), "no_loss", "STUCK")
    assert grade is Grade.FAIL
    assert {stream % 2 for stream, _ in told} == {1}


def test_a_drain_that_is_not_proved_for_one_input_leaves_its_losses_open_and_those_of_the_other_proved():
    written = as_two(losing(plain()))
    lost = int(np.flatnonzero(written.rows["n_output"] + written.rows["n_dlq"] == 0)[0])
    number = int(written.rows["in_partition"][lost])
    assert verdict_of(written, "no_loss").counts["LOST"] == 1
    drain = dict(written.run.drain or {})
    written.facts(drain={**drain, 1 - number: DrainFacts(1 - number, False, 1, 0)})
    assert verdict_of(written, "no_loss").counts["LOST"] == 1
    written.facts(drain={**drain, number: DrainFacts(number, False, 1, 0)})
    assert verdict_of(written, "no_loss").counts["LOST"] == 0


def test_samples_of_the_inputs_have_the_numbers_of_their_partitions():
    case = open_case(as_two(plain()))
    assert set(case.progress["partition"].tolist()) == {0, 1}
    assert case.drained.tolist()[:2] == [True, True]


def test_the_story_of_a_witness_names_the_topic_where_there_are_several():
    for written, topic in ((plain(), None), (as_two(plain()), "in2")):
        case = open_case(written)
        row = written.rows[written.rows["in_partition"] == 1][0]
        told = next(entry for entry in story(case, row, written.sightings[:0], 0) if entry["what"] == "acked")
        assert told.get("topic") == topic
        assert told["partition"] == (1 if topic is None else 0)
        assert telling.entry(told) == f"acked at input {'1' if topic is None else 'in2[0]'}@{row['in_offset']}"


def test_the_certificate_plants_in_runs_of_several_inputs_and_all_of_it_is_noticed():
    def made() -> Written:
        return as_two(history(plan=segments(rate_hz=50), injections=(injection(),)))

    certificate = certify(open_case(made()), made(), VERIFIERS)
    assert certificate.by_class["STUCK"] == certificate.by_class["UNSEEN"] == (20, 20)
    assert certificate.unnoticed == ()
    assert certificate.not_applicable == ("VOIDED", "BAD-REPLAY")


INSIDE = (TopicFacts("prices", Role.INTERNAL, 2), TopicFacts("checks", Role.INTERNAL, 2))


@pytest.mark.parametrize(
    ("ways", "told"),
    [
        ((0, 1), "lost before prices and checks"),
        ((0,), "committed past without a result"),
        ((), "committed past without a result"),
    ],
)
def test_who_is_not_seen_where_its_stream_never_was_need_not_have_been_lost_before_it(ways, told):
    """`ways`: the topics between services that other envelopes of the stream of the lost one were seen in."""
    written = as_two(plain())
    written.facts(topics=(*TWO, *INSIDE))
    row = written.find()
    written.lose(row)
    other = int(np.flatnonzero(written.rows["stream"] == written.rows["stream"][row])[0])
    for way in ways:
        written.add(len(TWO) + way, 0, 7, row=other, finals=(1,))
    (witness,) = verdict_of(written, "no_loss").witnesses
    assert witness.hop == told
