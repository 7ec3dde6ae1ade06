"""The envelope: pydantic and msgspec write the same bytes, identities go both ways, every poison is refused."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chaosd.envelope import identity, wire
from chaosd.envelope.dialects import chaosd as dialect
from chaosd.envelope.kinds import ErrorType, EventType
from chaosd.envelope.model import EventEnvelope, SystemErrorData
from chaosd.envelope.partition import partition_of
from chaosd.envelope.poison import KINDS, MAX_ENVELOPE_BYTES, spoil
from chaosd.kernel.errors import UsageError
from chaosd.target.reference.contract import Tick, Unprocessable, read_tick

# A busy machine is no reason to fail; each example takes microseconds.
settings.register_profile("chaosd", deadline=None, max_examples=60)
settings.load_profile("chaosd")

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=OFFSETS)  # noqa: DTZ001
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT | st.decimals(allow_nan=False).map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ENVELOPES = st.fixed_dictionaries(
    {
        "id": st.uuids(),
        "correlation_id": st.uuids(),
        "causation_id": st.none() | st.uuids(),
        "trace_id": st.uuids(),
        "parent_trace_id": st.none() | st.uuids(),
        "broker": TEXT,
        "type": st.sampled_from(EventType),
        "ts": TIMES,
        "key": TEXT,
        "source": TEXT,
        "version": st.integers(1, 1000),
        "data": st.dictionaries(TEXT, JSON, max_size=4),
    }
)
IDENTITIES = st.tuples(st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1))


def tick_bytes(**data: object) -> bytes:
    own = identity.pack(1, 2, 3)
    return wire.encode(
        wire.WireEnvelope(
            id=own,
            correlation_id=own,
            trace_id=own,
            broker="b",
            type=EventType.MARKET_TICK,
            ts=datetime(2026, 1, 1, tzinfo=UTC),
            key="SYM",
            source="test",
            data={
                "symbol": "SYM",
                "price": "1.10",
                "volume": 7,
                "exchange_ts": "2026-01-01T05:30:00.000+05:30",
                **data,
            },
        )
    )


def record(value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord("in", 0, 0, 0, 0, b"SYM", value, None, 3, len(value or b""), ())


@given(ENVELOPES)
def test_both_models_write_the_same_bytes(fields):
    assert wire.encode(wire.WireEnvelope(**fields)) == EventEnvelope(**fields).model_dump_json().encode()


@given(ENVELOPES)
def test_each_model_reads_what_the_other_wrote(fields):
    ours, theirs = wire.WireEnvelope(**fields), EventEnvelope(**fields)
    assert EventEnvelope.model_validate_json(wire.encode(ours)) == theirs
    assert wire.decode(theirs.model_dump_json().encode()) == ours


def test_decimal_text_keeps_its_zeros_on_the_way():
    assert wire.decode(wire.encode(wire.decode(tick_bytes(price="1.10")))).data["price"] == "1.10"
    assert EventEnvelope.model_validate_json(tick_bytes(price="1.10")).data["price"] == "1.10"


@given(TIMES)
def test_a_time_keeps_its_offset(ts):
    back = wire.decode(wire.encode(wire.WireEnvelope(**{**plain(), "ts": ts})))
    assert (back.ts, back.ts.utcoffset()) == (ts, ts.utcoffset())


def plain() -> dict[str, object]:
    return json.loads(tick_bytes()) | {
        name: identity.pack(1, 2, 3) for name in ("id", "correlation_id", "trace_id")
    } | {"ts": datetime(2026, 1, 1, tzinfo=UTC), "type": EventType.MARKET_TICK}  # fmt: skip


def test_a_time_without_offset_is_refused_by_both():
    naive = tick_bytes().replace(b'"2026-01-01T00:00:00Z"', b'"2026-01-01T00:00:00"')
    assert naive != tick_bytes()
    with pytest.raises(ValueError, match="timezone"):
        wire.decode(naive)
    with pytest.raises(ValidationError):
        EventEnvelope.model_validate_json(naive)


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-1.0", "1e3", "", 1.1, None, str(Decimal("sNaN")), math.nan])
def test_a_price_that_is_no_plain_decimal_text_is_refused(price):
    assert isinstance(read_tick(record(tick_bytes(price=price))), Unprocessable)


def test_a_good_tick_is_not_refused():
    assert isinstance(read_tick(record(tick_bytes())), Tick)


@given(IDENTITIES)
def test_an_identity_comes_back_out_of_its_id(fields):
    packed = identity.pack(*fields)
    assert (packed.version, packed.variant) == (8, uuid.RFC_4122)
    for text in (packed, str(packed), packed.hex):
        found = identity.unpack(text)
        assert found is not None
        assert (found.run_tag, found.stream, found.seq) == fields


@given(st.uuids(), st.integers(1, 8))
def test_a_foreign_uuid_is_not_taken_for_ours(foreign, version):
    assert identity.unpack(foreign) is None
    assert identity.unpack(uuid.UUID(int=foreign.int & ~(0xF << 76) | version << 76)) is None


@given(IDENTITIES, st.integers(0, 127))
def test_an_id_with_one_flipped_bit_is_not_ours(fields, bit):
    assert identity.unpack(uuid.UUID(int=identity.pack(*fields).int ^ 1 << bit)) is None


@pytest.mark.parametrize("text", ["", "no uuid", None, 5])
def test_what_is_no_uuid_is_not_ours(text):
    assert identity.unpack(text) is None


@pytest.mark.parametrize("fields", [(2**48, 0, 0), (0, 2**16, 0), (0, 0, 2**32), (-1, 0, 0)])
def test_an_identity_that_does_not_fit_is_refused(fields):
    with pytest.raises(ValueError, match="does not fit"):
        identity.pack(*fields)


def test_a_digest_covers_every_one_of_its_fields():
    given_ = (1, 2, 3, "topic", b"key", b"value")
    changed = [(9, 2, 3, "topic", b"key", b"value"), (1, 9, 3, "topic", b"key", b"value"),
               (1, 2, 9, "topic", b"key", b"value"), (1, 2, 3, "other", b"key", b"value"),
               (1, 2, 3, "topic", b"other", b"value"), (1, 2, 3, "topic", b"key", b"other")]  # fmt: skip
    digests = {identity.digest(*fields) for fields in (given_, *changed)}
    assert len(digests) == 7
    assert identity.digest(*given_) in digests


def test_a_child_has_the_same_id_however_often_it_is_made():
    parent = identity.pack(1, 2, 3)
    assert identity.child(parent, "a") == identity.child(parent, "a") != identity.child(parent, "b")


@pytest.mark.parametrize("kind", KINDS)
def test_every_poison_is_refused_by_the_contract(kind):
    assert isinstance(read_tick(record(spoil(kind, tick_bytes(), 5))), Unprocessable)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_poisons_are_the_same_bytes(kind):
    assert len({spoil(kind, tick_bytes(), unique) for unique in range(1000)}) == 1000


def test_oversized_is_above_the_limit_of_the_target_and_below_that_of_the_broker():
    assert MAX_ENVELOPE_BYTES < len(spoil("oversized", tick_bytes(), 1)) < 1_000_000


def test_the_shapes_of_poison_are_what_they_say():
    good = tick_bytes()
    with pytest.raises(UnicodeDecodeError):
        spoil("wrong_encoding", good, 1).decode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(spoil("not_json", good, 1))
    for kind in ("field_missing", "wrong_type", "unknown_enum", "oversized"):
        assert json.loads(spoil(kind, good, 1))["id"] == json.loads(good)["id"]


def test_an_unknown_poison_names_the_nearest():
    with pytest.raises(UsageError, match="not_json"):
        spoil("not_jsn", tick_bytes(), 1)


# Expected partitions: what the Java client's DefaultPartitioner gives for these keys.
@pytest.mark.parametrize(
    ("key", "hashed"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
     (b"a-little-bit-longer-string", -1486304829), (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
     (b"abc", 479470107)],
)  # fmt: skip
def test_keys_go_where_kafkas_own_partitioner_puts_them(key, hashed):
    assert partition_of(key, 1000) == (hashed & 0x7FFFFFFF) % 1000


def letter(**changes: object) -> bytes:
    data = {
        "dlq_metadata": {
            "original_topic": "in",
            "original_partition": 1,
            "original_offset": 2,
            "original_timestamp": "2026-01-01T00:00:00+00:00",
            "dlq_timestamp": "2026-01-01T00:00:01+00:00",
            "service_name": "s",
        },
        "failure_info": {
            "error_type": ErrorType.POISON,
            "error_class": "C",
            "error_message": "m",
            "failure_reason": "r",
            "retry_count": 0,
        },
        "original_message": {"key": "k", "value": "v", "headers": {"chaosd-id": "x"}},
        "replay_metadata": {"can_replay": False, "suggested_delay_minutes": 0, "requires_manual_review": True},
    }
    SystemErrorData.model_validate(data)
    return wire.encode(wire.WireEnvelope(**{**plain(), "type": EventType.SYSTEM_ERROR, "data": {**data, **changes}}))


def test_a_dead_letter_is_read():
    read = dialect.read(letter())
    assert read is not None
    assert (read.topic, read.partition, read.offset, read.error_type) == ("in", 1, 2, "poison")
    assert (read.key, read.value, read.headers) == ("k", "v", {"chaosd-id": "x"})


@pytest.mark.parametrize("value", [b"", b"{}", letter(dlq_metadata=None), letter(failure_info=None), tick_bytes()])
def test_what_is_no_dead_letter_of_this_dialect_is_not_read_as_one(value):
    assert dialect.read(value) is None
