"""EventEnvelope → JSON → Kafka → back: nothing changes, above all no money and no time."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import ValidationError

from chaosd.envelope import identity, wire
from chaosd.envelope.kinds import EventType
from chaosd.envelope.model import EventEnvelope

Through = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture(scope="module")
async def through_kafka(stack) -> AsyncIterator[Through]:
    """Sends bytes through the proxied Kafka and gives what a consumer got."""
    topic, bootstrap = f"roundtrip-{secrets.token_hex(4)}", str(stack.endpoints.proxied.kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    answer = await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    assert answer.topic_errors[0][1] == 0
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
        AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer,
    ):
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)

        async def through(value: bytes) -> bytes:
            sent = await producer.send_and_wait(topic, value)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    for record in batch:
                        if record.offset == sent.offset:
                            return record.value
            raise AssertionError("waited 5 s for the record")

        yield through


def envelope(**changes: object) -> EventEnvelope:
    fields = {
        "id": uuid4(),
        "correlation_id": uuid4(),
        "trace_id": uuid4(),
        "broker": "zerodha",
        "type": EventType.MARKET_TICK,
        "ts": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "key": "ACME",
        "source": "test",
        "data": {},
    }
    return EventEnvelope(**{**fields, **changes})


@pytest.mark.parametrize("kind", EventType)
async def test_every_type_of_envelope_comes_back_equal(through_kafka, kind):
    given = envelope(
        type=kind, causation_id=uuid4(), parent_trace_id=uuid4(), data={"text": "ünïcödé €", "nested": [1, None]}
    )
    assert EventEnvelope.model_validate_json(await through_kafka(given.model_dump_json().encode())) == given


@pytest.mark.parametrize("price", ["0.1", "101.50", "99999999999999999.123456789012", "0.000000000001", "100"])
async def test_money_keeps_every_digit(through_kafka, price):
    given = envelope(data={"price": price})
    back = EventEnvelope.model_validate_json(await through_kafka(given.model_dump_json().encode()))
    assert back.data["price"] == price
    assert Decimal(back.data["price"]) == Decimal(price)


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(hours=5, minutes=30), timedelta(hours=-3)], ids=str)
async def test_times_keep_their_instant_and_their_offset(through_kafka, offset):
    given = envelope(ts=datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=timezone(offset)))
    back = EventEnvelope.model_validate_json(await through_kafka(given.model_dump_json().encode()))
    assert back.ts == given.ts
    assert back.ts.utcoffset() == offset


async def test_what_the_fast_codec_writes_the_model_reads_and_the_other_way_round(through_kafka):
    given = envelope(data={"price": "101.50", "volume": 7})
    fast = wire.decode(await through_kafka(given.model_dump_json().encode()))
    assert EventEnvelope.model_validate_json(await through_kafka(wire.encode(fast))) == given
    assert wire.encode(fast) == given.model_dump_json().encode()


async def test_a_time_without_an_offset_is_refused(through_kafka):
    raw = (await through_kafka(envelope().model_dump_json().encode())).replace(b"05.678901Z", b"05.678901")
    with pytest.raises(ValidationError):
        EventEnvelope.model_validate_json(raw)
    with pytest.raises(ValueError, match="timezone"):
        wire.decode(raw)


async def test_every_single_corrupted_byte_is_noticed_by_the_digest(through_kafka):
    """Flipped in the producer, before the record has its CRC: Kafka carries it as it is, and so it must show here."""
    value = envelope(data={"price": "101.50"}).model_dump_json().encode()
    proof = identity.digest(1, 0, 7, "ticks", b"ACME", value)
    assert identity.digest(1, 0, 7, "ticks", b"ACME", await through_kafka(value)) == proof
    for place in range(0, len(value), 37):
        hurt = bytearray(value)
        hurt[place] ^= 0x01
        assert identity.digest(1, 0, 7, "ticks", b"ACME", await through_kafka(bytes(hurt))) != proof


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
async def test_a_record_that_is_cut_off_is_no_envelope(through_kafka, kept):
    value = envelope(data={"price": "101.50"}).model_dump_json().encode()
    cut = await through_kafka(value[: int(len(value) * kept)])
    with pytest.raises(msgspec.DecodeError):
        wire.decode(cut)
    with pytest.raises(ValidationError):
        EventEnvelope.model_validate_json(cut)


async def test_an_envelope_of_a_later_version_is_read_and_its_new_fields_do_no_harm(through_kafka):
    told = {**envelope(version=2).model_dump(mode="json"), "region": "eu", "data": {"price": "1.5", "venue": "X"}}
    raw = await through_kafka(json.dumps(told).encode())
    for read in (EventEnvelope.model_validate_json(raw), wire.decode(raw)):
        assert read.version == 2
        assert read.data == {"price": "1.5", "venue": "X"}


async def test_an_envelope_of_an_earlier_writer_without_the_optional_fields_is_read(through_kafka):
    told = envelope().model_dump(mode="json", exclude={"causation_id", "parent_trace_id", "version", "data"})
    raw = await through_kafka(json.dumps(told).encode())
    for read in (EventEnvelope.model_validate_json(raw), wire.decode(raw)):
        assert (read.causation_id, read.parent_trace_id, read.version, read.data) == (None, None, 1, {})
