"""`chaosd faults` and docs/faults.md: made from the table, complete, and the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaosd.cli.app import run
from chaosd.experiment import overlays
from chaosd.faults.describe import describe
from chaosd.faults.table import FAMILIES, FAULTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


def test_the_page_is_what_the_table_says(capsys):
    assert run(["faults", "--markdown"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), (
        "make it again: chaosd faults --markdown > docs/faults.md"
    )


def test_every_fault_has_a_name_of_its_own():
    assert sum(map(len, FAMILIES.values())) == len(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_every_parameter_says_what_it_accepts_and_what_it_means(name):
    one = describe()[name]
    assert {told.name for told in one.parameters} == set(FAULTS[name].params.model_fields)
    for told in one.parameters:
        assert told.form
        assert told.about.endswith(".")


def test_the_list_names_every_fault(capsys):
    assert run(["faults"]) == 0
    listed = capsys.readouterr().out
    assert all(f" {name} " in listed for name in FAULTS)


def test_one_fault_is_told_with_parameters_proofs_and_example(capsys):
    assert run(["faults", "maxclients"]) == 0
    told = capsys.readouterr().out
    for words in ("leave: 0 to 1000; default 0", "redis tells room at most 0", "chaosd run redis-maxclients"):
        assert words in told


def test_what_cannot_be_undone_and_what_is_taken_away_are_told(capsys):
    assert run(["faults", "flush"]) == 0
    told = capsys.readouterr().out
    assert "irreversible" in told
    assert "takes away  the results of envelopes" in told


def test_it_is_there_for_programs_too(capsys):
    assert run(["faults", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == [*FAULTS, *overlays.FORMS]
    assert run(["faults", "lock_table", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["parameters"][0] == {
        "name": "table", "form": "TABLE or SCHEMA.TABLE", "default": None,
        "about": "Of the target's database; with its schema where it is not in the search path.",
    }  # fmt: skip


def test_a_wrong_name_ends_in_a_usage_error(capsys):
    assert run(["faults", "maxclient"]) == 2
    assert "did you mean 'maxclients'?" in capsys.readouterr().err
