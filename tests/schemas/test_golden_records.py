"""Envelopes and dead letters as they lie in topics and journals from earlier on: still read, still written the same.

golden-envelopes.jsonl has one envelope of each type, golden-letters.jsonl one dead letter of each error type; a line is
the bytes of a record. Lines may be added for a new version; those that are there stay as they are.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from chaosd.envelope import identity, wire
from chaosd.envelope.dialects import chaosd as dialect
from chaosd.envelope.kinds import ErrorType, EventType
from chaosd.envelope.model import EventEnvelope, SystemErrorData

HERE = Path(__file__).parent
ENVELOPES = (HERE / "golden-envelopes.jsonl").read_bytes().splitlines()
LETTERS = (HERE / "golden-letters.jsonl").read_bytes().splitlines()
RUN_TAG = 0x123456789ABC


def kind(line: bytes) -> str:
    return json.loads(line)["type"]


@pytest.mark.parametrize("line", [*ENVELOPES, *LETTERS], ids=kind)
def test_an_old_envelope_is_read_and_written_to_the_same_bytes_by_both_forms(line):
    assert wire.encode(wire.decode(line)) == line
    assert EventEnvelope.model_validate_json(line).model_dump_json().encode() == line


def test_every_type_of_event_has_an_old_envelope():
    assert {wire.decode(line).type for line in ENVELOPES} == set(EventType)


@pytest.mark.parametrize("line", ENVELOPES, ids=kind)
def test_an_envelope_of_a_type_that_nobody_knows_is_refused(line):
    strange = line.replace(b'"type":"', b'"type":"not_a_')
    with pytest.raises(ValueError, match="not_a_"):
        wire.decode(strange)
    with pytest.raises(ValueError, match="type"):
        EventEnvelope.model_validate_json(strange)


@pytest.mark.parametrize("line", LETTERS, ids=lambda line: json.loads(line)["data"]["failure_info"]["error_type"])
def test_an_old_dead_letter_names_its_origin_its_error_and_the_original(line):
    letter, told = dialect.read(line), json.loads(line)["data"]
    assert letter is not None
    where = told["dlq_metadata"]
    assert (letter.topic, letter.partition, letter.offset) == (
        where["original_topic"],
        where["original_partition"],
        where["original_offset"],
    )
    assert letter.error_type == told["failure_info"]["error_type"]
    assert {"key": letter.key, "value": letter.value, "headers": letter.headers} == told["original_message"]
    data = SystemErrorData.model_validate(told)
    assert data.failure_info.error_type == letter.error_type
    assert data.dlq_metadata.original_offset == letter.offset


def test_every_type_of_error_has_an_old_dead_letter():
    assert {dialect.read(line).error_type for line in LETTERS} == set(ErrorType)


@pytest.mark.parametrize("lost", ["dlq_metadata", "failure_info", "original_message"])
def test_a_dead_letter_without_one_of_its_sections_is_none_of_this_dialect(lost):
    envelope = json.loads(LETTERS[0])
    del envelope["data"][lost]
    assert dialect.read(json.dumps(envelope).encode()) is None


def test_an_event_that_is_no_dead_letter_is_none_of_this_dialect():
    assert [dialect.read(line) for line in ENVELOPES] == [None] * len(ENVELOPES)


def test_identities_and_digests_of_old_runs_are_the_same_today():
    """Journals are judged again years later, and ids in topics are looked up by them."""
    packed = uuid.UUID("12345678-9abc-802c-8000-c000445c02d7")
    assert identity.pack(RUN_TAG, 3, 70_000) == packed
    assert identity.unpack(packed) == identity.Identity(RUN_TAG, 3, 70_000)
    assert identity.digest(RUN_TAG, 3, 70_000, "ticks", b"key", b"value") == b"36c4c45bf586a3403c264a51"
    parent = wire.decode(ENVELOPES[0]).id
    assert identity.child(parent, EventType.VALIDATED_SIGNAL) == uuid.UUID("c81c08a8-a7af-5152-8e4b-ce9a3efb4d01")
