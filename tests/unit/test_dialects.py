"""Every dialect of dead letters, on records as their frameworks write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosd.envelope.dialects import table
from chaosd.traffic.letters import Found
from chaosd.traffic.replay import HEADER_COUNT, HEADER_FROM, Original, Replay, marked, replays

KEY, VALUE = b"\xffkey", b"\x00\x01not text"
OWN = ("trace", b"\x01\x02")
CONNECT = (
    OWN,
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"4711"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"bad field"),
)
STREAMS = (
    OWN,
    ("__streams.errors.topic", b"orders"),
    ("__streams.errors.partition", b"3"),
    ("__streams.errors.offset", b"4711"),
    ("__streams.errors.exception", b"java.lang.IllegalStateException"),
    ("__streams.errors.message", b"bad field"),
)
SPRING = (
    OWN,
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", (3).to_bytes(4, "big")),
    ("kafka_dlt-original-offset", (4711).to_bytes(8, "big")),
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalArgumentException"),
    ("kafka_dlt-exception-message", b"bad field"),
)


@pytest.mark.parametrize(
    ("name", "headers", "error"),
    [
        ("kafka-connect", CONNECT, "org.apache.kafka.connect.errors.DataException"),
        ("kafka-streams", STREAMS, "java.lang.IllegalStateException"),
        ("spring", SPRING, "java.lang.IllegalArgumentException"),
    ],
)
def test_a_letter_told_by_its_headers_carries_the_original_as_it_was(name, headers, error):
    letter = table.read(KEY, VALUE, headers)
    assert letter is not None
    assert (letter.dialect, letter.topic, letter.partition, letter.offset) == (name, "orders", 3, 4711)
    assert (letter.error_class, letter.error_message) == (error, "bad field")
    assert (letter.key, letter.value, letter.headers, letter.exact) == (KEY, VALUE, (OWN,), True)
    assert letter.placed
    assert table.read(KEY, VALUE, headers, name) == letter


def test_a_letter_of_chaosds_own_dialect_is_read_from_its_value():
    line = (Path(__file__).parents[1] / "schemas" / "golden-letters.jsonl").read_bytes().splitlines()[0]
    said = json.loads(line)
    value = line if "data" in said else json.dumps(said["value"]).encode()
    letter = table.read(b"k", value, ())
    assert letter is not None
    assert letter.dialect == "chaosd"
    assert letter.placed
    assert not letter.exact
    assert not letter.may_replay


@pytest.mark.parametrize("headers", [(), (OWN,), (("kafka_dlt-exception-fqcn", b"x"),)])
def test_a_record_of_no_dialect_is_no_letter(headers):
    assert table.read(KEY, VALUE, headers) is None
    assert table.read(None, None, headers) is None


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ((("__connect.errors.topic", b"orders"),), (-1, -1)),
        ((*CONNECT[:2], ("__connect.errors.partition", b"three")), (-1, -1)),
        ((*SPRING[:2], ("kafka_dlt-original-partition", b"3")), (-1, -1)),
    ],
)
def test_coordinates_that_cannot_be_read_are_absent_and_nothing_else_is(headers, place):
    letter = table.read(KEY, VALUE, headers)
    assert letter is not None
    assert (letter.partition, letter.offset) == place
    assert not letter.placed
    assert letter.topic == "orders"


@given(
    st.lists(st.tuples(st.sampled_from([name for name, _ in (*CONNECT, *STREAMS, *SPRING)]), st.binary(max_size=12))),
    st.none() | st.binary(max_size=64),
)
def test_whatever_the_headers_hold_reading_never_fails(headers, value):
    letter = table.read(b"k", value, headers)
    assert letter is None or min(letter.partition, letter.offset) >= -1


def found() -> Found:
    return Found("orders.dlq", 0, 17, 0, KEY, 3, None)


def test_a_replay_is_marked_once_however_often_it_is_done():
    first = marked(Replay(found(), "orders", 3, Original(KEY, VALUE, (OWN,))))
    assert first == (OWN, (HEADER_COUNT, b"1"), (HEADER_FROM, b"orders.dlq/0/17"))
    again = Original(KEY, VALUE, first)
    assert replays(again) == 1
    assert marked(Replay(found(), "orders", 3, again))[1:] == ((HEADER_COUNT, b"2"), (HEADER_FROM, b"orders.dlq/0/17"))
