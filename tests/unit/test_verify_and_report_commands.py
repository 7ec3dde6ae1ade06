"""`chaosd verify` and `chaosd report` on run directories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_directory

from chaosd.cli.app import run as chaosd
from chaosd.kernel.errors import Exit
from chaosd.report.judge import VERDICT, VERIFIERS, judge_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    run_directory.write(tmp_path / run_directory.RUN_ID)
    return tmp_path


@pytest.fixture
def judged(runs: Path) -> Path:
    judge_run(runs / run_directory.RUN_ID)
    return runs / run_directory.RUN_ID


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_verify_finds_the_same_verdict(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chaosd(["verify", str(judged)]) == Exit.PASS
    assert "identical to the stored verdict" in out(capsys)


def test_verify_finds_a_verdict_that_was_forged(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads((judged / VERDICT).read_text())
    (judged / VERDICT).write_text(json.dumps({**told, "verdict": "FAIL", "reasons": ["x"]}))
    assert chaosd(["verify", str(judged)]) == Exit.PASS
    assert "DIFFERENT from the stored verdict in reasons, verdict" in out(capsys)
    assert json.loads((judged / VERDICT).read_text())["verdict"] == "FAIL"
    chaosd(["verify", str(judged), "--write"])
    assert json.loads((judged / VERDICT).read_text())["verdict"] == "PASS"


def test_verify_finds_a_journal_that_was_changed(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = judged / "facts-generator.jsonl"
    path.write_text(path.read_text().replace('"upto":3100', '"upto":3099'))
    assert chaosd(["verify", str(judged)]) == Exit.INCONCLUSIVE
    assert "DIFFERENT" in out(capsys)


def test_nothing_is_held_against_a_pipeline_after_the_seed_of_its_run_was_changed(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = judged / "facts-conductor.jsonl"
    told = path.read_text()
    assert '"seed":7' in told
    path.write_text(told.replace('"seed":7', '"seed":8', 1))
    assert chaosd(["verify", str(judged), "--write"]) == Exit.INCONCLUSIVE
    assert "altered:facts-conductor.jsonl" in json.loads((judged / VERDICT).read_text())["reasons"]


def test_verify_takes_a_run_id_or_the_newest_run(runs: Path, judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chaosd(["verify", run_directory.RUN_ID, "--runs-dir", str(runs)]) == Exit.PASS
    assert chaosd(["verify", "--runs-dir", str(runs)]) == Exit.PASS
    assert out(capsys).count("identical") == 2


def test_a_later_run_that_ended_before_its_traffic_is_not_taken_for_the_newest(
    runs: Path, judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = runs / "20260131T120000-redis-delay-1f2e3e"
    later.mkdir()
    assert chaosd(["verify", "--runs-dir", str(runs)]) == Exit.PASS
    assert run_directory.RUN_ID in out(capsys)
    (later / "sends-generator.arrows").touch()
    assert chaosd(["verify", "--runs-dir", str(runs)]) != Exit.PASS


def test_verify_says_when_strange_verifiers_judge_and_own_ones_can(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = judged / VERIFIERS / "no_loss.py"
    stored.write_text(stored.read_text() + "\n# changed by somebody\n")
    chaosd(["verify", str(judged)])
    assert "not those of this installation" in out(capsys)
    chaosd(["verify", str(judged), "--own", "--write"])
    assert "not those of this installation" not in out(capsys)
    stored.write_text(stored.read_text() + "\n# changed again\n")
    told = json.loads((judged / VERDICT).read_text())
    (judged / VERDICT).write_text(json.dumps({**told, "verdict": "FAIL"}))
    chaosd(["verify", str(judged), "--own", "--write"])
    chaosd(["verify", str(judged)])
    assert "not those of this installation" not in out(capsys)


def test_verify_of_several_runs_ends_with_the_worst(judged: Path, runs: Path) -> None:
    lost = run_directory.write(runs / "lost", lost=2)
    assert chaosd(["verify", str(judged), str(lost)]) == Exit.FAIL


def test_run_that_is_not_there_is_a_usage_error(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chaosd(["verify", run_directory.RUN_ID[:-1], "--runs-dir", str(runs)]) == Exit.USAGE
    assert "did you mean" in capsys.readouterr().err
    assert chaosd(["verify", "--runs-dir", str(runs / "none")]) == Exit.USAGE


@pytest.mark.parametrize(("form", "piece"), [("terminal", "PASS  Redis"), ("html", "<!DOCTYPE"), ("json", '"verdict"')])
def test_report_comes_in_every_format(judged: Path, capsys: pytest.CaptureFixture[str], form: str, piece: str) -> None:
    assert chaosd(["report", str(judged), "--format", form]) == Exit.PASS
    assert piece in out(capsys)


def test_report_of_a_run_that_was_never_judged_judges_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chaosd(["report", str(runs / run_directory.RUN_ID)]) == Exit.PASS
    assert "PASS" in out(capsys)


def test_report_goes_to_a_file(judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "r.html"
    chaosd(["report", str(judged), "--format", "html", "--output", str(target)])
    assert target.read_bytes() == (judged / "report.html").read_bytes()
    assert chaosd(["report", str(judged), "--output", str(tmp_path / "no" / "x")]) == Exit.USAGE


def test_unknown_format_names_the_nearest(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chaosd(["report", str(judged), "--format", "htlm"]) == Exit.USAGE
    assert "'html'" in capsys.readouterr().err


def test_damaged_verdict_is_no_traceback(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (judged / VERDICT).write_text("{}")
    assert chaosd(["report", str(judged)]) == Exit.USAGE
    assert "not a verdict" in capsys.readouterr().err
