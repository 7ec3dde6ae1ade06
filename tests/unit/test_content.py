"""What must be on the wire: the reference pipeline's own answers agree with it, and each deviation is seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosd.envelope import identity
from chaosd.envelope.kinds import EventType
from chaosd.envelope.partition import partition_of
from chaosd.envelope.poison import KINDS
from chaosd.experiment.content import TYPES, UNKNOWN_TYPE, Content, Deviation, Inspection, Rendered, Role
from chaosd.experiment.plan import Segment, expand, global_index
from chaosd.target.reference.contract import Tick, Unprocessable, read_tick
from chaosd.target.reference.dlq import DeadLetters
from chaosd.target.reference.strategy import answer

# A busy machine is no reason to fail; each example takes microseconds.
settings.register_profile("chaosd", deadline=None, max_examples=60)
settings.load_profile("chaosd")

RUN_TAG, SEED, STREAMS, PARTITIONS = 77, 5, 8, 4
TOPICS = {Role.INPUT: ("in", PARTITIONS), Role.OUTPUT: ("out", PARTITIONS), Role.DLQ: ("dlq", 1)}
POISON = tuple((kind, 0.1) for kind in KINDS)
SEGMENT = Segment(0, "baseline", 0, 4_000, 0, 1, STREAMS, POISON)
WHERE = (3, 41)


def content(run_tag: int = RUN_TAG, *, planned: bool = True) -> Content:
    made = Content(run_tag, SEED, STREAMS, TOPICS, 1_750_000_000_000_000_000)
    if planned:
        made.add(SEGMENT)
    return made


OURS = content()
ROWS = expand(SEGMENT, SEED)
GOOD = [(int(row["stream"]), int(row["seq"])) for row in ROWS if row["kind"] == 0]
BAD = {kind: next(row for row in ROWS if row["kind"] == 1 + n) for n, kind in enumerate(KINDS)}


def nowhere(topic: str, partition: int, offset: int) -> None:
    return None


def rendered(stream: int, seq: int) -> Rendered:
    return OURS.render(stream, seq, OURS.kind(stream, seq) or 0)


def consumed(sent: Rendered, topic: str = "in") -> ConsumerRecord:
    partition, offset = WHERE
    return ConsumerRecord(
        topic, partition, offset, 1_750_000_000_000, 0, sent.key, sent.value, None, 4, 9, sent.headers
    )


def answered(stream: int, seq: int) -> dict[str, Any]:
    tick = read_tick(consumed(rendered(stream, seq)))
    assert isinstance(tick, Tick)
    return json.loads(answer(tick))


def inspect_output(stream: int, envelope: dict[str, Any], **where: Any) -> Inspection:
    key = where.get("key", OURS.key_of(stream).encode())
    partition = where.get("partition", partition_of(OURS.key_of(stream).encode(), PARTITIONS))
    value = where.get("value", json.dumps(envelope).encode())
    return OURS.inspect(Role.OUTPUT, where.get("topic", "out"), partition, key, value, (), nowhere)


def inspect_letter(sent: Rendered, change=lambda envelope: None, *, origin=nowhere, key=None) -> Inspection:
    record = consumed(sent)
    why = read_tick(record)
    if not isinstance(why, Unprocessable):
        why = Unprocessable("C", "m", "r")
    message = DeadLetters("dlq").letter(record, why)
    envelope = json.loads(message.value)
    change(envelope)
    value = json.dumps(envelope).encode()
    return OURS.inspect(Role.DLQ, "dlq", 0, key if key is not None else message.key, value, (), origin)


@given(st.integers(0, STREAMS - 1), st.integers(0, 499))
def test_an_input_record_proves_itself(stream, seq):
    sent = rendered(stream, seq)
    partition = partition_of(sent.key, PARTITIONS)
    found = OURS.inspect(Role.INPUT, "in", partition, sent.key, sent.value, sent.headers, nowhere)
    assert (found.stream, found.seq, found.deviation) == (stream, seq, Deviation.NONE)
    assert TYPES[found.type] is EventType.MARKET_TICK


def test_rendering_is_the_same_every_time():
    assert rendered(*GOOD[0]) == content().render(*GOOD[0], 0)


def test_streams_have_keys_of_their_own_spread_over_all_partitions():
    keys = [OURS.key_of(stream) for stream in range(STREAMS)]
    assert len(set(keys)) == STREAMS
    assert [partition_of(key.encode(), PARTITIONS) for key in keys] == [n % PARTITIONS for n in range(STREAMS)]


@pytest.mark.parametrize(
    ("change", "deviation"),
    [
        ({"value": b"{}"}, Deviation.DIGEST),
        ({"key": b"other"}, Deviation.DIGEST | Deviation.KEY),
        ({"partition": PARTITIONS}, Deviation.TOPIC),
        ({"headers": ()}, Deviation.UNIDENTIFIED),
        ({"topic": "out"}, Deviation.DIGEST | Deviation.TOPIC),
    ],
)
def test_an_input_record_that_was_changed_is_noticed(change, deviation):
    sent = rendered(*GOOD[0])
    at = {"topic": "in", "partition": partition_of(sent.key, PARTITIONS), "key": sent.key, "value": sent.value,
          "headers": sent.headers, **change}  # fmt: skip
    found = OURS.inspect(Role.INPUT, at["topic"], at["partition"], at["key"], at["value"], at["headers"], nowhere)
    assert found.deviation == deviation


@pytest.mark.parametrize(("stream", "seq"), GOOD[:50])
def test_what_the_reference_pipeline_answers_is_what_must_come_out(stream, seq):
    found = inspect_output(stream, answered(stream, seq))
    assert (found.stream, found.seq, found.deviation) == (stream, seq, Deviation.NONE)


def _data(name: str, value: object):
    return lambda envelope: envelope["data"].update({name: value})


@pytest.mark.parametrize(
    ("change", "deviation"),
    [
        (lambda e: e["data"].update(price=str(float(e["data"]["price"]) + 0.001)), Deviation.FIELD),
        (lambda e: e["data"].update(price=float(e["data"]["price"])), Deviation.FIELD),
        (lambda e: e["data"].update(volume=str(e["data"]["volume"])), Deviation.FIELD),
        (_data("exchange_ts", "2025-06-15T12:00:00Z"), Deviation.FIELD),
        (_data("signal", "NONE"), Deviation.FIELD),
        (_data("notional", "0"), Deviation.FIELD),
        (_data("extra", 1), Deviation.FIELD),
        (lambda e: e.update(key="other"), Deviation.FIELD),
        (lambda e: e.update(type="order_placed"), Deviation.TYPE),
        (lambda e: e.update(trace_id=e["id"]), Deviation.CORRELATION),
        (lambda e: e.update(causation_id=None), Deviation.CAUSATION),
        (lambda e: e.update(parent_trace_id=e["id"]), Deviation.CAUSATION),
        (lambda e: e.update(correlation_id="7d9f6f1e-53c1-4a53-8a4f-3f6ce1f7c6a1"), Deviation.UNIDENTIFIED),
        (lambda e: e.update(correlation_id=str(identity.pack(RUN_TAG + 1, 0, 0))), Deviation.FOREIGN),
        (lambda e: e.update(correlation_id=str(identity.pack(RUN_TAG, 0, 10**6))), Deviation.UNPLANNED),
        (lambda e: e.update(correlation_id=str(identity.pack(RUN_TAG, STREAMS, 0))), Deviation.UNPLANNED),
    ],
)
def test_each_way_to_spoil_an_output_is_noticed(change, deviation):
    stream, seq = GOOD[3]
    envelope = answered(stream, seq)
    change(envelope)
    assert inspect_output(stream, envelope).deviation == deviation


@pytest.mark.parametrize(
    ("where", "deviation"),
    [
        ({"key": b"other"}, Deviation.KEY),
        ({"key": None}, Deviation.KEY),
        ({"partition": PARTITIONS + 1}, Deviation.TOPIC),
        ({"topic": "elsewhere"}, Deviation.TOPIC),
    ],
)
def test_the_right_output_in_the_wrong_place_is_noticed(where, deviation):
    stream, seq = GOOD[3]
    assert inspect_output(stream, answered(stream, seq), **where).deviation == deviation


@pytest.mark.parametrize("value", [b"", None, b"nonsense", b'{"id": 5}', b"\xff\xfe"])
def test_an_output_that_is_no_envelope_has_no_identity(value):
    found = OURS.inspect(Role.OUTPUT, "out", 0, b"k", value, (), nowhere)
    assert (found.stream, found.type) == (-1, UNKNOWN_TYPE)
    assert found.deviation == Deviation.UNIDENTIFIED | Deviation.UNDECODABLE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [True, False])
def test_the_dead_letter_of_every_poison_is_identified(kind, known):
    stream, seq = int(BAD[kind]["stream"]), int(BAD[kind]["seq"])
    origin = (
        (lambda _, partition, offset: (stream, seq) if (partition, offset) == WHERE else None) if known else nowhere
    )
    found = inspect_letter(rendered(stream, seq), origin=origin)
    assert found == Inspection(stream, seq, TYPES.index(EventType.SYSTEM_ERROR), Deviation.NONE, *WHERE, "in")


def test_a_dead_letter_of_a_good_envelope_is_identified_too():
    found = inspect_letter(rendered(*GOOD[0]))
    assert ((found.stream, found.seq), found.deviation) == (GOOD[0], Deviation.NONE)


def _meta(name: str, value: object):
    return lambda e: e["data"]["dlq_metadata"].update({name: value})


@pytest.mark.parametrize(
    ("change", "deviation"),
    [
        (lambda e: e["data"]["failure_info"].update(error_type="transient"), Deviation.ERROR_TYPE),
        (lambda e: e.update(type="order_failed"), Deviation.TYPE),
        (lambda e: e.update(correlation_id=e["id"]), Deviation.CORRELATION),
        (lambda e: e.update(causation_id=None), Deviation.CAUSATION),
        (lambda e: e["data"]["original_message"].update(value="other"), Deviation.PAYLOAD),
        (lambda e: e["data"]["original_message"].update(key=None), Deviation.PAYLOAD),
        (_meta("original_topic", "other"), Deviation.COORDINATES),
        (_meta("original_offset", -1), Deviation.COORDINATES),
        (lambda e: e["data"].update(dlq_metadata={}), Deviation.COORDINATES),
        (lambda e: e["data"].update(failure_info={}), Deviation.ERROR_TYPE),
        (lambda e: e["data"]["original_message"].pop("value"), Deviation.PAYLOAD),
    ],
)
def test_each_way_to_spoil_a_dead_letter_is_noticed(change, deviation):
    row = BAD["field_missing"]
    found = inspect_letter(rendered(int(row["stream"]), int(row["seq"])), change)
    assert (found.stream, found.deviation) == (row["stream"], deviation)


def test_a_dead_letter_under_another_key_is_noticed():
    row = BAD["wrong_type"]
    assert inspect_letter(rendered(int(row["stream"]), int(row["seq"])), key=b"other").deviation == Deviation.KEY


def test_coordinates_of_another_envelope_are_believed_and_held_against_the_letter():
    row = BAD["not_json"]
    found = inspect_letter(rendered(int(row["stream"]), int(row["seq"])), origin=lambda *_: GOOD[0])
    assert (found.stream, found.seq) == GOOD[0]
    assert Deviation.COORDINATES in found.deviation


def test_a_letter_without_any_trace_of_its_origin_has_no_identity():
    def strip(envelope: dict[str, Any]) -> None:
        envelope["data"]["original_message"]["headers"] = {}

    row = BAD["not_json"]
    found = inspect_letter(rendered(int(row["stream"]), int(row["seq"])), strip)
    assert (found.stream, found.deviation) == (-1, Deviation.UNIDENTIFIED)
    assert (found.origin_partition, found.origin_offset) == WHERE


def test_what_was_not_planned_yet_is_unplanned():
    sent = rendered(*GOOD[0])
    early = content(planned=False)
    found = early.inspect(Role.INPUT, "in", partition_of(sent.key, 4), sent.key, sent.value, sent.headers, nowhere)
    assert found.deviation == Deviation.UNPLANNED


def test_the_kind_comes_from_the_segment_that_planned_it():
    made = content(planned=False)
    made.add(Segment(0, "burst", 0, 100, 0, 1, STREAMS))
    made.add(Segment(1, "baseline", 100, 100, 0, 1, STREAMS, (("not_json", 1.0),)))
    kinds = [made.kind(k % STREAMS, k // STREAMS) for k in (0, 99, 100, 199, 200)]
    assert kinds == [0, 0, 1, 1, None]
    assert global_index(99 % STREAMS, 99 // STREAMS, STREAMS) == 99


@pytest.mark.parametrize("role", [Role.OUTPUT, Role.DLQ])
def test_records_that_nobody_can_read_are_unidentified_and_harm_no_reader(role):
    deep = OURS.render(0, 0, 0).value.replace(b'"data":{', b'"data":{"x":' + b"[" * 5_000 + b"]" * 5_000 + b",")
    for value in (deep, b"[" * 200_000, b'{"data":' + b'{"a":' * 100_000, b"\xff", b"null", b""):
        found = OURS.inspect(role, TOPICS[role][0], 0, b"k", value, (), nowhere)
        assert found.deviation == Deviation.UNIDENTIFIED | Deviation.UNDECODABLE


def test_an_input_record_whose_header_has_no_value_is_unidentified():
    found = OURS.inspect(Role.INPUT, "in", 0, b"k", b"v", ((identity.HEADER_ID, None),), nowhere)
    assert found.deviation & Deviation.UNIDENTIFIED
