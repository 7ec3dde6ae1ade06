"""Several input topics: a stream belongs to one, and its records, results and dead letters are judged by that one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosd.envelope.partition import partition_of
from chaosd.envelope.poison import KINDS
from chaosd.experiment.content import UNKNOWN_TYPE, Deviation, Inspection, Role
from chaosd.experiment.contract import Contract, Input, Letters, Result, Table
from chaosd.experiment.dealing import deal
from chaosd.experiment.mapped import MappedContent
from chaosd.experiment.plan import Segment
from chaosd.traffic.ages import Ages

RUN_TAG, STREAMS = 77, 8
POISON = (("not_json", 0.3), ("wrong_encoding", 0.3))
ORDERS = Input("orders", '{"id": "${id}", "who": "${key}"}', share=3)
REFUNDS = Input("refunds", '{"refund": "${id}", "n": ${count}}', 2, key="r-${key}", headers={"x-seq": "${seq}"})
BILLS = Result("bills", fields={"$.who": "${key}"}, sources=["orders"])
CREDITS = Result("credits", fields={"$.n": "${count}"}, count=2, sources=["refunds"])
BOOKED = Result("booked", optional=True)
ROWS = Table("back", "of", {"n": "${count}"}, sources=["refunds"])
CONNECT = Letters("kafka-connect", types={"JSONDecodeError": "poison"})


def content(*results: Result, inputs: tuple[Input, ...] = (ORDERS, REFUNDS), streams: int = STREAMS, letters=CONNECT):
    contract = Contract(
        list(inputs), list(results or (BILLS, CREDITS, BOOKED)), id="$.of", letters=letters, tables=[ROWS]
    )
    made = MappedContent(RUN_TAG, 5, streams, 1_750_000_000_000_000_000, contract)
    made.add(Segment(0, "baseline", 0, 50 * streams, 0, 1, streams, POISON))
    return made


def nowhere(topic: str, partition: int, offset: int) -> None:
    return None


def stream_of(made: MappedContent, topic: str) -> int:
    return next(stream for stream in range(STREAMS) if made.source_of(stream)[0] == topic)


def seq_of(made: MappedContent, stream: int, kind: int) -> int:
    return next(seq for seq in range(50) if made.kind(stream, seq) == kind)


# --- streams are dealt out


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(0, 56))
@settings(max_examples=60, deadline=None)
def test_every_stream_is_dealt_to_one_input_and_none_goes_without(shares, more):
    streams = len(shares) + more
    dealt = deal(shares, streams)
    assert len(dealt) == streams
    assert set(dealt) == set(range(len(shares)))
    assert dealt == deal(shares, streams)
    for number, share in enumerate(shares):
        fair = share * streams / sum(shares)
        # Nobody has more than a whole stream above what is due, but for the first one that everybody has.
        assert dealt.count(number) <= max(1, fair + 1)


@pytest.mark.parametrize(
    ("shares", "streams", "counts"),
    [((1, 1), 4, [2, 2]), ((3, 1), 8, [6, 2]), ((1,), 4, [4]), ((100, 1), 4, [3, 1]), ((2, 1, 1), 4, [2, 1, 1])],
)
def test_as_many_streams_as_its_share(shares, streams, counts):
    dealt = deal(shares, streams)
    assert [dealt.count(number) for number in range(len(shares))] == counts


def test_shares_are_spread_and_not_one_after_the_other():
    assert deal((1, 1), 4) == (0, 1, 0, 1)
    assert deal((3, 1), 8)[:4].count(1) == 1


def test_fewer_streams_than_inputs_cannot_be_dealt():
    with pytest.raises(ValueError, match="3 inputs need at least 3 streams, and there are 2"):
        deal((1, 1, 1), 2)


# --- what goes in

NAMED = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 6), st.sampled_from(['{"id": "${id}"}', "${id};${amount}", "${id} x"])),
    min_size=1,
    max_size=4,
)


@given(NAMED, st.integers(0, 9), st.integers(0, 49))
@settings(max_examples=60, deadline=None)
def test_each_identity_is_of_exactly_one_input_and_its_record_proves_itself_there_alone(named, more, seq):
    inputs = tuple(
        Input(f"in{n}", value, partitions, share=share) for n, (share, partitions, value) in enumerate(named)
    )
    streams = len(inputs) + more
    made = content(Result("out"), inputs=inputs, streams=streams)
    for stream in range(streams):
        name, partitions = made.source_of(stream)
        assert [one.topic for one in inputs].count(name) == 1
        for kind in (0, *(1 + KINDS.index(kind) for kind, _ in POISON)):
            record = made.render(stream, seq, kind)
            partition = partition_of(record.key, partitions)
            for one in inputs:
                there = partition if one.topic == name else partition_of(record.key, one.partitions)
                found = made.inspect(Role.INPUT, one.topic, there, record.key, record.value, record.headers, nowhere)
                assert (found.stream, found.seq) == (stream, seq)
                right = Deviation.NONE if one.topic == name else Deviation.TOPIC | Deviation.DIGEST
                assert found.deviation == right


def test_the_streams_of_an_input_are_spread_over_its_partitions():
    made = content()
    for name, partitions in (("orders", 4), ("refunds", 2)):
        own = [stream for stream in range(STREAMS) if made.source_of(stream)[0] == name]
        reached = {partition_of(made.render(stream, 0, 0).key, partitions) for stream in own}
        assert len(reached) == min(len(own), partitions)


def test_each_input_has_its_own_template_key_and_headers():
    made = content()
    refund = made.render(stream_of(made, "refunds"), 3, 0)
    assert refund.key.startswith(b"r-K")
    assert set(json.loads(refund.value)) == {"refund", "n"}
    assert dict(refund.headers)["x-seq"] == b"3"
    order = made.render(stream_of(made, "orders"), 3, 0)
    assert set(json.loads(order.value)) == {"id", "who"}
    assert "x-seq" not in dict(order.headers)


# --- what comes out


def result(made: MappedContent, source: str, topic: str) -> Inspection:
    stream = stream_of(made, source)
    body = {"of": made.values(stream, 7)["id"], "who": made.key_of(stream), "n": int(made.values(stream, 7)["count"])}
    return made.inspect(Role.OUTPUT, topic, 0, made.key_of(stream).encode(), json.dumps(body).encode(), (), nowhere)


@pytest.mark.parametrize(
    ("source", "topic", "kind"),
    [("orders", "bills", 0), ("refunds", "credits", 1), ("orders", "booked", 2), ("refunds", "booked", 2)],
)
def test_a_result_of_the_input_that_owes_it_is_right(source, topic, kind):
    found = result(content(), source, topic)
    assert (found.type, found.deviation) == (kind, Deviation.NONE)


@pytest.mark.parametrize(("source", "topic"), [("refunds", "bills"), ("orders", "credits")])
def test_a_result_that_its_input_does_not_owe_is_of_no_kind(source, topic):
    found = result(content(), source, topic)
    assert (found.type, found.deviation) == (UNKNOWN_TYPE, Deviation.TYPE)


def test_results_on_one_topic_are_told_apart_by_the_inputs_that_they_are_from():
    made = content(
        Result("out", fields={"$.who": "${key}"}, sources=["orders"]),
        Result("out", fields={"$.n": "${count}"}, sources=["refunds"]),
    )
    assert (result(made, "orders", "out").type, result(made, "refunds", "out").type) == (0, 1)


@pytest.mark.parametrize(("source", "right"), [("refunds", True), ("orders", False)])
def test_a_row_of_a_table_is_held_against_the_inputs_that_owe_it(source, right):
    made = content()
    values = made.values(stream_of(made, source), 7)
    row = json.dumps({"of": values["id"], "n": values["count"]}).encode()
    found = made.inspect(Role.TABLE, ROWS.title, 0, None, row, (), nowhere)
    assert found.deviation == (Deviation.NONE if right else Deviation.TYPE)
    assert found.type == (3 if right else UNKNOWN_TYPE)


def test_the_live_view_waits_for_what_the_input_of_a_stream_owes():
    made = content()
    order, refund = stream_of(made, "orders"), stream_of(made, "refunds")
    assert (made.results_of(order), made.results_of(refund)) == (1, 2)
    ages = Ages(5, STREAMS, made.results_of)
    ages.add(Segment(0, "baseline", 0, STREAMS, 0, 1, STREAMS))
    ages.result(order, 0, 100, dead_letter=False)
    assert ages.resolved == 1
    ages.result(refund, 0, 100, dead_letter=False)
    assert ages.resolved == 1
    ages.result(refund, 0, 110, dead_letter=False)
    assert ages.resolved == 2


# --- dead letters


def letter(made: MappedContent, source: str, origin=nowhere, **told: str) -> tuple[int, int, Inspection]:
    stream = stream_of(made, source)
    seq = seq_of(made, stream, 1)
    record = made.render(stream, seq, 1)
    says = {"topic": source, "partition": "1", "offset": "5", "exception.class.name": "x.JSONDecodeError", **told}
    headers = [*record.headers, *((f"__connect.errors.{name}", text.encode()) for name, text in says.items())]
    return stream, seq, made.inspect(Role.DLQ, "dlq", 0, record.key, record.value, headers, origin)


@pytest.mark.parametrize("source", ["orders", "refunds"])
def test_a_dead_letter_names_the_topic_that_its_original_was_sent_to(source):
    stream, seq, found = letter(content(), source)
    assert found == Inspection(stream, seq, UNKNOWN_TYPE, Deviation.NONE, 1, 5, source)


def test_a_dead_letter_that_names_another_input_is_wrong():
    stream, seq, found = letter(content(), "orders", topic="refunds")
    assert (found.stream, found.seq, found.deviation) == (stream, seq, Deviation.COORDINATES)


def test_a_dead_letter_whose_coordinates_are_those_of_another_inputs_record_is_of_that_one():
    made = content()
    other = (stream_of(made, "refunds"), 3)
    known = {("refunds", 1, 5): other}
    _, _, found = letter(made, "orders", lambda *at: known.get(at), topic="refunds")
    assert (found.stream, found.seq) == other
    assert found.deviation & Deviation.COORDINATES


def test_a_partition_that_the_named_topic_does_not_have_is_no_place():
    _, _, found = letter(content(), "refunds", partition="2")
    assert found.deviation == Deviation.COORDINATES
    assert (found.origin_partition, found.origin_offset, found.origin_topic) == (-1, -1, "")
    assert letter(content(), "orders", partition="2")[2].deviation == Deviation.NONE


def test_a_dialect_of_ones_own_is_held_to_the_topic_it_names_even_without_offsets():
    made = content(letters=Letters(places={"topic": "header:__connect.errors.topic"}))
    assert letter(made, "refunds")[2].deviation == Deviation.NONE
    assert letter(made, "refunds", topic="orders")[2].deviation == Deviation.COORDINATES
