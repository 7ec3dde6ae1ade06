"""Recorded and golden events: read by today's models, told with their line; and files that are none."""

from __future__ import annotations

import json

import pytest

from chaosd.cli.app import run as chaosd_command
from chaosd.kernel.errors import SourceError, UsageError
from chaosd.preflight.check import run, snapshot
from chaosd.preflight.evolution.recorded import load
from chaosd.preflight.report import Evolution

SOURCE = """
from decimal import Decimal
from pydantic import BaseModel, field_validator

class Tick(BaseModel):
    symbol: str
    price: Decimal

class Order(BaseModel):
    size: int

    @field_validator("size", mode="before")
    @classmethod
    def mend(cls, value):
        return 0 if value == "none" else value
"""
GOOD = {"model": "events:Tick", "event": {"symbol": "A", "price": "0.10"}}


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "events.py").write_text(SOURCE, encoding="utf-8")
    return folder


def recording(folder, *rows):
    file = folder / "seen.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return file


def found(source, *rows):
    file = recording(source.parent, *rows)
    return run(source, evolution=Evolution(source.parent / "none", events=(file,))).findings


def test_events_that_are_read_give_nothing(source):
    as_text = {"model": "Tick", "event": '{"symbol": "A", "price": 0.10}'}
    assert found(source, GOOD, "", as_text, {"model": "Order", "event": {"size": 1, "further": True}}) == ()


def test_event_that_is_not_read_is_told_at_the_field_with_its_line_once_for_a_reason(source):
    renamed = {"model": "Tick", "event": {"ticker": "A", "price": "1"}}
    (finding,) = found(source, GOOD, renamed, renamed)
    assert (finding.path, finding.line, finding.rule, finding.confidence) == (
        "events.py",
        6,
        "schema-evolution",
        "high",
    )
    assert "seen.jsonl:2: symbol: Field required" in finding.message


def test_exact_amount_that_would_be_rounded_is_told(source):
    (source / "events.py").write_text(SOURCE.replace("price: Decimal", "price: float"), encoding="utf-8")
    (finding,) = found(source, GOOD, {"model": "Tick", "event": {"symbol": "A", "price": "0.30"}})
    assert "'0.10' came back as 0.1" in finding.message


def test_whole_number_written_as_text_is_read_without_loss(source):
    assert found(source, {"model": "Order", "event": {"size": "3"}}) == ()


def test_event_that_an_own_validator_may_mend_has_low_confidence(source):
    (finding,) = found(source, {"model": "Order", "event": {"size": "none"}})
    assert finding.confidence == "low"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", ("not JSON", '"event"')),
        ("[" * 100_000, ("not JSON",)),
        ("[]", ("not a recorded event", "found []")),
        ('{"model": "Tick", "evnt": {}}', ("not a recorded event", '"event"')),
        ('{"model": "Tik", "event": {}}', ("no such model", "found 'Tik'", "'Tick'")),
        ('{"model": 3, "event": {}}', ("no such model", "found 3")),
        ('{"model": "Tick", "event": 3}', ("not an event", "found 3")),
    ],
)
def test_line_that_is_no_event_is_refused_with_its_place(source, row, told):
    file = recording(source.parent, GOOD, row)
    with pytest.raises(SourceError) as refused:
        load([file], snapshot(source))
    assert all(part in str(refused.value) for part in (f"{file}:2", *told)), refused.value


def test_file_that_is_not_utf_8_or_not_there_is_refused(source):
    file = recording(source.parent, GOOD)
    file.write_bytes(b"\n\xff\n")
    with pytest.raises(SourceError, match=r"seen\.jsonl:2"):
        load([file], snapshot(source))
    with pytest.raises(UsageError, match="cannot read"):
        load([source / "none.jsonl"], snapshot(source))


def test_name_that_two_models_have_needs_its_module(source):
    (source / "other.py").write_text(SOURCE, encoding="utf-8")
    file = recording(source.parent, {**GOOD, "model": "Tick"})
    with pytest.raises(SourceError, match="only one model has"):
        load([file], snapshot(source))


def test_event_of_a_model_that_cannot_be_rebuilt_is_no_silent_pass(source):
    (source / "events.py").write_text(SOURCE.replace("price: Decimal", "price: Foreign"), encoding="utf-8")
    with pytest.raises(SourceError, match="cannot be rebuilt"):
        found(source, GOOD)


def test_command_reads_events_and_the_cache_knows_their_content(source):
    file = recording(source.parent, GOOD)
    assert chaosd_command(["preflight", "src", "--events", "seen.jsonl"]) == 0
    file.write_text('{"model": "Tick", "event": {}}', encoding="utf-8")
    assert chaosd_command(["preflight", "src", "--events", "seen.jsonl"]) == 1
    assert chaosd_command(["preflight", "src", "--events", "seen.jsonl", "--no-replay"]) == 2


def test_golden_events_beside_the_snapshots_are_read_without_asking(source):
    assert chaosd_command(["preflight", "snapshot", "src"]) == 0
    golden = source.parent / "chaosd-schemas" / "golden.jsonl"
    golden.write_text(json.dumps(GOOD), encoding="utf-8")
    assert chaosd_command(["preflight", "src"]) == 0
    golden.write_text('{"model": "Tick", "event": {}}', encoding="utf-8")
    assert chaosd_command(["preflight", "src"]) == 1
