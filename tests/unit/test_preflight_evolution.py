"""Schemas over time: the table of changes, by rule and by replay, and the flow from snapshot to finding."""

from __future__ import annotations

import pytest

from chaosd.cli.app import run as chaosd_command
from chaosd.preflight.check import run, snapshot
from chaosd.preflight.evolution.compatibility import problems
from chaosd.preflight.evolution.oracle import replay
from chaosd.preflight.evolution.schema import Schemas
from chaosd.preflight.report import Evolution

HEAD = """
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Optional
from pydantic import BaseModel, ConfigDict, Field
"""
IGNORE, FORBID = "", '    model_config = ConfigDict(extra="forbid")\n'
# What was, what is, and which directions hold: (backward, forward), first with extra ignored, then forbidden.
BOTH, BACK, FORTH, NONE = (True, True), (True, False), (False, True), (False, False)
CHANGES = {
    "optional added": ("a: int", "a: int\n    b: int = 1", BOTH, BACK),
    "required added": ("a: int", "a: int\n    b: int", FORTH, NONE),
    "optional removed": ("a: int\n    b: int = 1", "a: int", BOTH, FORTH),
    "required removed": ("a: int\n    b: int", "a: int", BACK, NONE),
    "renamed": ("a: int\n    b: int", "a: int\n    c: int", NONE, NONE),
    "renamed with an alias": ("a: int\n    b: int", 'a: int\n    c: int = Field(alias="b")', BACK, BACK),
    "null allowed": ("a: int", "a: Optional[int]", BACK, BACK),
    "null forbidden": ("a: int | None", "a: int", FORTH, FORTH),
    "int to float": ("a: int", "a: float", BACK, BACK),
    "int to str": ("a: int", "a: str", NONE, NONE),
    "Decimal to str": ("a: Decimal", "a: str", BACK, BACK),
    "datetime to str": ("a: datetime", "a: str", BACK, BACK),
    "Decimal to float": ("a: Decimal", "a: float", FORTH, FORTH),
    "constraint tightened": ("a: int", "a: int = Field(ge=0)", FORTH, FORTH),
    "constraint loosened": ("a: Annotated[int, Field(ge=0)]", "a: Annotated[int, Field(ge=-5)]", BACK, BACK),
    "nothing": ("a: list[int]", "a: list[int]", BOTH, BOTH),
    "inside a list": ("a: list[int]", "a: list[str]", NONE, NONE),
}


def schemas(folder, body):
    folder.mkdir()
    (folder / "events.py").write_text(HEAD + body, encoding="utf-8")
    return snapshot(folder)


def model(fields, config):
    return f"class Event(BaseModel):\n{config}    {fields}\n"


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
    """All changes as one pair of schemas, so that each direction is replayed once."""
    bodies = {"old": "", "new": ""}
    for at, (old, new, *_) in enumerate(CHANGES.values()):
        for config, suffix in ((IGNORE, "I"), (FORBID, "F")):
            for side, fields in (("old", old), ("new", new)):
                bodies[side] += model(fields, config).replace("Event", f"Event{at}{suffix}")
    folder = tmp_path_factory.mktemp("evolution")
    old, new = (schemas(folder / side, body) for side, body in bodies.items())
    return old, new, replay(old, new), replay(new, old)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", ["I", "F"])
def test_change_breaks_what_the_table_says_by_rule_and_by_replay(histories, change, suffix):
    old, new, backward, forward = histories
    key = f"events:Event{list(CHANGES).index(change)}{suffix}"
    expected = CHANGES[change][2 if suffix == "I" else 3]
    assert (not problems(old, new, key), not problems(new, old, key)) == expected
    assert key in backward.replayed
    assert (key not in backward.failures, key not in forward.failures) == expected


def test_enum_members_added_and_removed(tmp_path):
    enum = "class Kind(Enum):\n    A = 'a'\n{}class Event(BaseModel):\n    kind: Kind\n"
    few = schemas(tmp_path / "few", enum.format(""))
    many = schemas(tmp_path / "many", enum.format("    B = 'b'\n"))
    (problem,) = problems(many, few, "events:Event")
    assert problem.reason == "does not know 'b'"
    assert problems(few, many, "events:Event") == []
    assert set(replay(many, few).failures) == {"events:Event"}
    assert replay(few, many).failures == {}


def test_change_inside_a_nested_model_breaks_the_outer_one(tmp_path):
    body = "class Part(BaseModel):\n    size: {}\nclass Event(BaseModel):\n    part: Part\n"
    old, new = schemas(tmp_path / "old", body.format("int")), schemas(tmp_path / "new", body.format("bool"))
    assert "size inside" in problems(old, new, "events:Event")[0].reason


def test_schemas_survive_json(tmp_path):
    found = schemas(tmp_path / "one", model("a: int = Field(alias='b', ge=1)", IGNORE))
    assert Schemas.from_json(found.to_json()) == found


def test_break_is_found_against_every_snapshot_and_told_at_its_field(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "src"
    schemas(source, model("a: int", IGNORE))
    assert chaosd_command(["preflight", "snapshot", "src"]) == 0
    assert chaosd_command(["preflight", "snapshot", "src"]) == 0
    assert "nothing changed" in capsys.readouterr().out
    (source / "events.py").write_text(HEAD + model("a: int\n    b: int = 1", IGNORE), encoding="utf-8")
    assert chaosd_command(["preflight", "snapshot", "src"]) == 0
    assert chaosd_command(["preflight", "src"]) == 0
    (source / "events.py").write_text(HEAD + model("a: int\n    c: str", IGNORE), encoding="utf-8")
    report = run(source, evolution=Evolution(tmp_path / "chaosd-schemas"))
    assert {(f.rule, f.line) for f in report.findings} == {("schema-evolution", 9)}
    assert "needs 'c'" in report.findings[0].message
    assert "a replay failed too" in report.findings[0].message
    assert chaosd_command(["preflight", "src"]) == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"chaosd-schemas": 1}', '{"chaosd-schemas": 7, "models": {}, "enums": {}}']
)
def test_file_that_is_no_snapshot_is_refused(tmp_path, text, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schemas(tmp_path / "src", model("a: int", IGNORE))
    (tmp_path / "chaosd-schemas").mkdir()
    (tmp_path / "chaosd-schemas" / "0001.json").write_text(text, encoding="utf-8")
    assert chaosd_command(["preflight", "src"]) == 2
    assert "0001.json" in capsys.readouterr().err


def test_source_that_does_not_parse_is_not_snapshotted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "m.py").write_text("def f(:\n", encoding="utf-8")
    assert chaosd_command(["preflight", "snapshot", "src"]) == 2
    assert not (tmp_path / "chaosd-schemas").exists()
