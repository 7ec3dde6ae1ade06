"""The baseline: what is known does not fail, what is new does, what is gone is told; and the formats for CI."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from chaosd.cli.app import run as chaosd_command
from chaosd.kernel.finding import Finding
from chaosd.preflight import baseline
from chaosd.preflight.check import run
from chaosd.preflight.output.table import render
from chaosd.preflight.rules.table import RULES

ONE = "class M: ...\n\n\nM().first()\n"
TWO = ONE + "M().second()\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "m.py").write_text(ONE, encoding="utf-8")
    return tmp_path


def preflight(project, *options):
    return chaosd_command(["preflight", str(project / "src"), "--baseline", str(project / "b.json"), *options])


def test_only_new_findings_fail_and_moved_lines_are_not_new(project, capsys):
    assert preflight(project, "--write-baseline") == 0
    assert preflight(project) == 0
    (project / "src" / "m.py").write_text("\n\n" + TWO, encoding="utf-8")
    capsys.readouterr()
    assert preflight(project) == 1
    told = capsys.readouterr()
    assert "second" in told.out
    assert "first" not in told.out
    assert "1 new, 1 known, 0 fixed" in told.err


def test_fixed_findings_are_told_and_pruned(project, capsys):
    preflight(project, "--write-baseline")
    (project / "src" / "m.py").write_text("x = 1\n", encoding="utf-8")
    assert preflight(project) == 0
    assert "fixed: m.py: missing-method: M has no method 'first'" in capsys.readouterr().err
    assert len(baseline.load(project / "b.json")) == 1
    assert preflight(project, "--prune") == 0
    assert baseline.load(project / "b.json") == Counter()


def test_file_that_does_not_parse_is_never_hidden_by_a_baseline(project):
    (project / "src" / "broken.py").write_text("def f(:\n", encoding="utf-8")
    preflight(project, "--write-baseline")
    assert preflight(project) == 1


def test_second_finding_of_the_same_kind_in_a_file_is_new():
    finding = Finding("m.py", 1, 0, "r", "text at a.py:3", symbol="s")
    later = Finding("m.py", 9, 0, "r", "text at a.py:7", symbol="s")
    known = Counter([baseline.key(finding)])
    assert baseline.compare([later], known).new == ()
    assert baseline.compare([finding, later], known).new == (later,)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"chaosd-baseline": 9}', '{"chaosd-baseline": 1, "findings": [{"path": 1}]}']
)
def test_file_that_is_no_baseline_is_refused(project, capsys, text):
    (project / "b.json").write_text(text, encoding="utf-8")
    assert preflight(project) == 2
    assert "b.json" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--prune"], ["--write-baseline"], ["--compatibility", "sideways"]])
def test_options_that_make_no_sense_are_refused(project, options):
    assert chaosd_command(["preflight", str(project / "src"), *options]) == 2


def test_absent_baseline_is_an_error_with_its_remedy(project, capsys):
    assert preflight(project) == 2
    assert "--write-baseline" in capsys.readouterr().err


def test_sarif_names_rules_places_and_stable_fingerprints(project, monkeypatch):
    monkeypatch.chdir(project)
    (project / "src" / "m.py").write_text(ONE + "M().first()\n", encoding="utf-8")
    from pathlib import Path

    log = json.loads(render(run(Path("src")), "sarif"))
    (one,) = log["runs"]
    rules = [rule["id"] for rule in one["tool"]["driver"]["rules"]]
    assert set(rules) >= {rule.name for rule in RULES}
    first, second = one["results"]
    assert log["version"] == "2.1.0"
    assert rules[first["ruleIndex"]] == first["ruleId"] == "missing-method"
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "src/m.py", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 4, "startColumn": 5}
    assert first["partialFingerprints"] != second["partialFingerprints"]


def test_junit_has_a_case_for_each_rule_and_fails_those_with_findings(project):
    suite = ET.fromstring(render(run(project / "src"), "junit"))
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["missing-method"]
    assert int(suite.get("tests")) == len(list(suite)) > len(RULES)
    assert "m.py:4" in suite.find("testcase/failure").text
