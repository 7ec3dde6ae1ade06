"""What a SYSTEM_ERROR in the DLQ carries: enough to find, understand, mend and replay the original."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from aiokafka import ConsumerRecord
from pipeline_bench import Given, PipelineBench, running, tick

from chaosd.envelope import wire
from chaosd.envelope.kinds import ErrorType, EventType
from chaosd.envelope.model import EventEnvelope, SystemErrorData
from chaosd.envelope.poison import spoil


@pytest.fixture(scope="module")
async def bench(stack, tmp_path_factory) -> AsyncIterator[PipelineBench]:
    async with running(stack, tmp_path_factory.mktemp("dlq")) as bench:
        yield bench


async def letter_of(bench: PipelineBench, given: Given) -> ConsumerRecord:
    known = len(bench.letters)
    await bench.send([given])
    await bench.collect(lambda: len(bench.letters) > known, 5, "the letter")
    return bench.letters[-1]


async def test_a_readable_original_is_named_by_its_ids_and_its_coordinates(bench):
    good = tick("DLQ")
    bad = Given(good.id, b"DLQ", spoil("field_missing", good.value, 1), (("chaosd-id", b"0190-abc"),))
    letter = await letter_of(bench, bad)
    said, original = json.loads(letter.value), json.loads(good.value)
    assert letter.key == b"DLQ"
    assert (said["correlation_id"], said["trace_id"]) == (original["correlation_id"], original["trace_id"])
    assert (said["causation_id"], said["parent_trace_id"]) == (original["id"], original["id"])
    data = said["data"]
    assert set(data["dlq_metadata"]) == {
        "original_topic",
        "original_partition",
        "original_offset",
        "original_timestamp",
        "dlq_timestamp",
        "service_name",
    }
    assert data["dlq_metadata"]["original_topic"] == bench.topics["input"]
    assert data["dlq_metadata"]["service_name"] == "reference"
    written, buried = (
        datetime.fromisoformat(data["dlq_metadata"][name]) for name in ("original_timestamp", "dlq_timestamp")
    )
    assert written.utcoffset() is not None
    assert written <= buried
    assert data["failure_info"]["error_type"] == "poison"
    assert data["failure_info"]["retry_count"] == 0
    assert data["failure_info"]["error_message"]
    assert data["original_message"]["key"] == "DLQ"
    assert data["original_message"]["value"].encode() == bad.value
    assert data["original_message"]["headers"] == {"chaosd-id": "0190-abc"}
    assert data["replay_metadata"] == {
        "can_replay": False,
        "suggested_delay_minutes": 0,
        "requires_manual_review": True,
    }


async def test_a_letter_is_itself_a_valid_envelope(bench):
    good = tick("DLQ")
    letter = await letter_of(bench, Given(good.id, b"DLQ", spoil("wrong_type", good.value, 2)))
    assert wire.decode(letter.value).type == "system_error"


async def test_bytes_that_are_not_utf8_are_carried_in_base64(bench):
    value, key = b"\xff\xfe not text", b"\x80key"
    letter = await letter_of(bench, Given(tick().id, key, value, (("raw", b"\xfe"),)))
    original = json.loads(letter.value)["data"]["original_message"]
    assert letter.key == key
    assert base64.b64decode(original["value"]) == value
    assert base64.b64decode(original["key"]) == key
    assert base64.b64decode(original["headers"]["raw"]) == b"\xfe"


async def test_an_oversized_original_is_carried_whole(bench):
    good = tick("BIG")
    bad = Given(good.id, b"BIG", spoil("oversized", good.value, 3))
    letter = await letter_of(bench, bad)
    assert json.loads(letter.value)["data"]["original_message"]["value"].encode() == bad.value


async def test_an_original_too_long_for_kafka_in_its_text_form_is_cut_and_says_so(bench):
    bad = Given(tick().id, b"GIANT", b"\\" * 900_000)
    data = json.loads((await letter_of(bench, bad)).value)["data"]
    assert "cut" in data["failure_info"]["failure_reason"]
    assert bad.value.startswith(data["original_message"]["value"].encode())


async def test_data_that_only_the_database_refuses_goes_to_the_dlq_alone(bench):
    known = len(bench.letters)
    refused = tick("REFUSED", changes={"exchange_ts": "0001-01-01T00:00:00+23:59"})
    good = [tick("REFUSED") for _ in range(20)]
    await bench.send([*good[:10], Given(refused.id, b"REFUSED", refused.value), *good[10:]])
    await bench.answered(good)
    await bench.collect(lambda: len(bench.letters) > known, 5, "the letter")
    [letter] = bench.letters[known:]
    said = json.loads(letter.value)
    assert said["correlation_id"] == str(refused.id)
    assert "store" in said["data"]["failure_info"]["failure_reason"]


async def test_a_letter_is_mended_and_replayed_and_processed_at_last(bench):
    """All that a replay needs is in the letter: topic, key, value. The id stays, so the two are one event."""
    good = tick("REPLAY", volume=11)
    broken = json.loads(good.value)
    del broken["data"]["price"]
    letter = await letter_of(bench, Given(good.id, b"REPLAY", json.dumps(broken).encode()))
    said = json.loads(letter.value)["data"]
    assert said["dlq_metadata"]["original_topic"] == bench.topics["input"]
    original = said["original_message"]
    mended = json.loads(original["value"])
    mended["data"]["price"] = "101.50"
    replayed = Given(good.id, original["key"].encode(), json.dumps(mended).encode())
    await bench.send([replayed])
    await bench.answered([replayed])
    [answer] = bench.outputs[good.id]
    assert wire.decode(answer.value).correlation_id == good.id


async def test_a_replay_of_what_was_not_mended_comes_back_as_a_new_letter_about_the_new_record(bench):
    good = tick("AGAIN")
    bad = Given(good.id, b"AGAIN", spoil("field_missing", good.value, 9))
    first = json.loads((await letter_of(bench, bad)).value)["data"]
    original = first["original_message"]
    second = json.loads((await letter_of(bench, Given(bad.id, bad.key, original["value"].encode()))).value)["data"]
    places = [
        (one["dlq_metadata"]["original_partition"], one["dlq_metadata"]["original_offset"]) for one in (first, second)
    ]
    assert places[0][0] == places[1][0]
    assert places[1][1] > places[0][1]
    assert second["failure_info"]["error_type"] == first["failure_info"]["error_type"] == "poison"


@pytest.mark.parametrize("kind", ErrorType)
async def test_every_type_of_error_is_a_system_error_of_the_schema(bench, kind):
    good = tick("SCHEMA")
    said = json.loads((await letter_of(bench, Given(good.id, b"SCHEMA", spoil("wrong_type", good.value, 4)))).value)
    said["data"]["failure_info"]["error_type"] = kind
    envelope = EventEnvelope.model_validate(said)
    assert envelope.type is EventType.SYSTEM_ERROR
    assert SystemErrorData.model_validate(envelope.data).failure_info.error_type is kind
