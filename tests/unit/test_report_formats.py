"""The formats that CI reads: each says the verdict, nothing of a run can break its form."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import report_sample
import run_directory
from hypothesis import given
from hypothesis import strategies as st

from chaosd.cli.app import run as chaosd
from chaosd.report import github, html, junit, markdown, model, terminal, words
from chaosd.report.formats import FORMATS
from chaosd.report.judge import judge_run

NOTHING = model.Picture()
MISTAKEN = """\
chaosd: 1
title: two mistakes
timeline:
  - {at: 0s, for: 2s, fault: latencie, on: redis, latency: 100ms}
expect:
  los: none
"""


def suite(report: model.Report) -> ET.Element:
    found = ET.fromstring(junit.render(report, NOTHING)).find("testsuite")
    assert found is not None
    return found


def outcomes(report: model.Report) -> dict[str, str]:
    return {
        str(case.get("name")): next((child.tag for child in case), "passed") for case in suite(report).iter("testcase")
    }


def test_junit_has_a_case_for_the_run_and_for_each_verifier():
    assert outcomes(report_sample.passing()) == {"run": "passed", "no_loss": "passed", "no_duplicates": "passed"}


def test_junit_says_what_failed_with_the_story_of_a_witness():
    report = report_sample.report()
    assert outcomes(report) == {"run": "passed", "no_loss": "failure", "no_duplicates": "passed", "recovery": "passed"}
    found = suite(report)
    assert (found.get("tests"), found.get("failures"), found.get("errors")) == ("4", "1", "0")
    failure = found.find(".//failure")
    assert failure is not None
    assert "LOST 17" in str(failure.get("message"))
    assert "committed past" in str(failure.text)
    facts = {one.get("name"): one.get("value") for one in found.iter("property")}
    assert facts["chaosd_verdict"] == "FAIL"
    assert facts["chaosd_command"] == "chaosd run experiment redis-latency --seed 42"


def test_junit_calls_the_inconclusive_an_error_and_never_passed():
    report = report_sample.report(verdict="INCONCLUSIVE", reasons=("no_bite:1-latency-redis",), exit=3, verifiers=())
    assert outcomes(report) == {"run": "error"}


def test_junit_skips_what_is_documented_and_only_then():
    known = {"verdict": "FAIL", "classes": ("LOST",), "why": "ticket 7"}
    matched = report_sample.report(known=model.Known(**known, matched=True), exit=0)
    assert outcomes(matched)["no_loss"] == "skipped"
    assert outcomes(report_sample.report(known=model.Known(**known)))["no_loss"] == "failure"


@given(st.text())
def test_no_text_of_a_run_breaks_the_forms(text):
    verifier = model.Verifier(
        name=text,
        verdict="FAIL",
        reasons=(text,),
        counts={text: 1},
        witnesses=(model.Witness(anomaly=text, stream=0, seq=1, hop=text, lifeline=({"at_ms": 1.0, "what": text},)),),
    )
    report = report_sample.report(title=text, experiment=text, run_id=text, reasons=(text,), verifiers=(verifier,))
    assert len(list(suite(report).iter("testcase"))) == 2
    assert all(line.startswith("::") for line in github.render(report, NOTHING).split("\n")[:-1])
    page = markdown.render(report, NOTHING)
    assert "\x1b" not in page
    rows = [line for line in page.split("\n") if line.startswith("| ") and "accepted envelopes" in line]
    assert len(rows) == 1


def test_markdown_shows_verdict_figures_faults_and_how_to_repeat_it():
    page = markdown.render(report_sample.report(), NOTHING)
    assert page.startswith("## ❌ FAIL: Redis answers 400 ms late\n")
    assert "- **17 × LOST** accepted by the broker, and its result never came out" in page
    assert "| latency on redis | latency 400ms" in page
    assert "| no\\_loss | ❌ FAIL | LOST 17" in page
    assert "<details><summary>LOST: stream 0, envelope 1290" in page
    assert "`chaosd run experiment redis-latency --seed 42`" in page


def test_markdown_of_hostile_text_has_no_markup_of_it():
    page = markdown.render(report_sample.report(title=report_sample.HOSTILE + "|`*"), NOTHING)
    assert "<script" not in page
    assert "\\|\\`\\*" in page


def test_what_can_be_done_about_a_reason_is_told_once_and_nothing_about_others():
    reasons = ("recovery:baseline_too_slow", "recovery:not_decided", "no_bite:1-latency-redis", "no_loss:LOST")
    report = report_sample.report(verdict="INCONCLUSIVE", reasons=reasons, exit=3)
    for page in (terminal.render(report, NOTHING), markdown.render(report, NOTHING), html.render(report, NOTHING)):
        assert page.count("at a lower rate") == 1
        assert page.count("a stronger or longer fault") == 1
        assert page.count("emedy:") == 2
    assert "emedy" not in terminal.render(report_sample.passing(), NOTHING)


def test_a_reason_is_found_whoever_says_it_and_whatever_it_is_about():
    for code in ("part_slow", "part_slow:kafka", "recovery:part_slow:kafka"):
        assert words.explain(code) == words.REASONS["part_slow"]
        assert words.remedy(code) == words.REMEDIES["part_slow"]
    assert words.explain("no_loss:void:LOST") == words.CLASSES["LOST"]
    assert words.explain("void:LOST") == words.REASONS["void"]
    assert words.explain("recovery:plain words:kafka") == ""


def test_every_remedy_is_for_a_reason_that_there_is():
    assert set(words.REMEDIES) <= set(words.REASONS)


@pytest.mark.parametrize(("verdict", "level"), [("PASS", "notice"), ("FAIL", "error"), ("INCONCLUSIVE", "warning")])
def test_annotations_have_the_level_of_the_verdict_and_the_file_of_the_experiment(verdict, level):
    setting = model.Setting(command="chaosd run experiment tests/late.chaos.yaml --seed 1")
    text = github.render(report_sample.report(verdict=verdict, setting=setting), NOTHING)
    assert text.startswith(f"::{level} file=tests/late.chaos.yaml,title=chaosd::{verdict}: ")


def test_every_format_renders_every_report():
    for report in (report_sample.report(), report_sample.passing()):
        for one in FORMATS.values():
            assert one.render(report, report_sample.picture()).strip()


def test_the_command_writes_them_and_appends_the_step_summary(tmp_path, monkeypatch, capsys):
    run_directory.write(tmp_path / run_directory.RUN_ID)
    judge_run(tmp_path / run_directory.RUN_ID)
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    place = str(tmp_path / run_directory.RUN_ID)
    assert chaosd(["report", place, "--format", "github"]) == 0
    assert capsys.readouterr().out.startswith("::notice title=chaosd::PASS")
    assert summary.read_text(encoding="utf-8").startswith("## ✅ PASS")
    assert chaosd(["report", place, "--format", "junit", "--output", str(tmp_path / "junit.xml")]) == 0
    assert ET.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_mistakes_in_experiment_files_are_sarif_with_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "chaos/bad.chaos.yaml", MISTAKEN)
    write(tmp_path, "chaos/other.yaml", "services: {}\n")
    assert chaosd(["check", "chaos", "--format", "sarif"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == "2.1.0"
    results = told["runs"][0]["results"]
    places = [one["locations"][0]["physicalLocation"] for one in results]
    assert {place["artifactLocation"]["uri"] for place in places} == {"chaos/bad.chaos.yaml"}
    assert sorted(place["region"]["startLine"] for place in places) == [4, 6]
    assert any("did you mean 'latency'?" in one["message"]["text"] for one in results)
    assert all("\n" not in one["message"]["text"] for one in results)
    assert len({one["partialFingerprints"]["chaosd/v1"] for one in results}) == 2


def test_mistakes_are_annotations_for_github_and_lines_for_people(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "bad.yaml", MISTAKEN)
    assert chaosd(["check", "bad.yaml", "--format", "github"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=bad.yaml,line=4,col=")
    assert chaosd(["check", "bad.yaml"]) == 2
    assert capsys.readouterr().out.startswith("bad.yaml:4:")


def test_whole_files_have_no_mistakes(capsys):
    assert chaosd(["check", "experiments", "--format", "sarif"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["results"] == []


def test_a_format_that_is_none_names_the_nearest(capsys):
    assert chaosd(["check", "experiments", "--format", "sarf"]) == 2
    assert "did you mean 'sarif'?" in capsys.readouterr().err
