"""The judge on whole run directories, made with the journal's own writer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import run_directory

from chaosd.kernel.errors import Exit, UsageError
from chaosd.report import judge, model
from chaosd.report.judge import PAGE, PICTURE, TIMING, VERDICT, VERIFIERS, judge_run

REQUIRED = (
    "chaosd run_id experiment seed verdict reasons journal envelopes faults recovery verifiers certificate".split()
)


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = run_directory.write(tmp_path_factory.mktemp("runs") / run_directory.RUN_ID)
    judge_run(run_dir)
    return run_dir


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    return run_directory.write(tmp_path / run_directory.RUN_ID)


def verdict(run_dir: Path) -> dict:
    return json.loads((run_dir / VERDICT).read_text())


def test_a_good_run_passes_with_its_certificate(passed: Path) -> None:
    told = verdict(passed)
    assert (told["verdict"], told["reasons"], told["exit"]) == ("PASS", [], 0)
    assert told["certificate"]["planted"] == told["certificate"]["noticed"] > 0


def test_verdict_has_the_keys_that_others_read(passed: Path) -> None:
    told = verdict(passed)
    assert set(REQUIRED) <= set(told)
    assert set(told["journal"]) >= {"hash", "sealed", "rows"}
    assert {"sent", "acked", "rejected", "indeterminate", "expected_output", "expected_dlq"} <= set(told["envelopes"])
    assert {"id", "fault", "on", "injected_ns", "healed_ns", "bite", "healed", "evidence"} <= set(told["faults"][0])
    assert {"fault", "low_ms", "high_ms", "limit_ms", "verdict", "threshold_ms"} <= set(told["recovery"][0])
    assert {"name", "verdict", "reasons", "counts", "witnesses"} <= set(told["verifiers"][0])


def test_same_journal_gives_the_same_bytes_twice_and_elsewhere(passed: Path, tmp_path: Path) -> None:
    first = (passed / VERDICT).read_bytes()
    judge_run(passed)
    assert (passed / VERDICT).read_bytes() == first
    copy = tmp_path / "elsewhere"
    shutil.copytree(passed, copy)
    for name in (VERDICT, PICTURE, PAGE):
        (copy / name).unlink()
    judge_run(copy)
    for name in (VERDICT, PICTURE, PAGE):
        assert (copy / name).read_bytes() == (passed / name).read_bytes(), name


def test_what_the_judging_took_is_in_another_file(passed: Path) -> None:
    assert set(json.loads((passed / TIMING).read_text())) == {"load_ms", "judge_ms", "report_ms"}


def test_account_and_picture_agree_with_what_was_written(passed: Path) -> None:
    told = verdict(passed)
    owed = told["envelopes"]
    assert owed["sent"] == owed["acked"] == 3100 == owed["expected_output"] + owed["expected_dlq"]
    assert (owed["seen_output"], owed["seen_dlq"]) == (owed["expected_output"], owed["expected_dlq"])
    drawn = model.decode_picture((passed / PICTURE).read_bytes())
    assert [curve.kind for curve in drawn.curves] == ["output", "dlq"]
    assert [phase.name for phase in drawn.phases] == ["warmup", "baseline", "faults", "hold"]
    assert sum(drawn.sent_hz) == 3100
    output = drawn.curves[0]
    assert all(low <= high for low, high in zip(output.low_ms, output.high_ms, strict=True))
    # 15 to 21 ms without a fault, 220 ms more while it lasts.
    assert 235 <= max(output.high_ms) <= 260


def test_lost_envelopes_fail_with_their_story(tmp_path: Path) -> None:
    judged = judge_run(run_directory.write(tmp_path / "run", lost=3))
    assert (judged.report.verdict, judged.exit) == ("FAIL", Exit.FAIL)
    no_loss = next(one for one in judged.report.verifiers if one.name == "no_loss")
    assert no_loss.counts["LOST"] == 3
    assert [entry["what"] for entry in no_loss.witnesses[0].lifeline][:2] == ["due", "fault injected"]


def test_known_failure_exits_zero_on_exactly_its_classes(tmp_path: Path) -> None:
    known = {"verdict": "FAIL", "classes": ["LOST"], "why": "it is an example"}
    same = judge_run(run_directory.write(tmp_path / "same", lost=3, known=known))
    assert (same.report.verdict, same.exit, same.report.known.matched) == ("FAIL", Exit.PASS, True)
    other = judge_run(run_directory.write(tmp_path / "other", lost=3, known={**known, "classes": ["CORRUPT"]}))
    assert (other.exit, other.report.known.matched) == (Exit.FAIL, False)
    healthy = judge_run(run_directory.write(tmp_path / "healthy", known=known))
    assert (healthy.report.verdict, healthy.report.known.matched) == ("PASS", False)


def test_unsealed_journal_is_inconclusive(tmp_path: Path) -> None:
    judged = judge_run(run_directory.write(tmp_path / "run", sealed=False))
    assert judged.report.verdict == "INCONCLUSIVE"
    assert "unsealed" in judged.report.reasons
    assert judged.exit is Exit.INCONCLUSIVE


@pytest.mark.parametrize("name", ["sightings-tap.arrows", "facts-generator.jsonl", "canaries-conductor.arrows"])
def test_missing_file_is_named_and_never_passes(fresh: Path, name: str) -> None:
    (fresh / name).unlink()
    report = judge_run(fresh).report
    assert report.verdict != "PASS"
    assert name in report.journal.missing
    assert (fresh / PAGE).is_file()


@pytest.mark.parametrize("name", ["sightings-tap.arrows", "facts-conductor.jsonl", "acks-generator.arrows"])
@pytest.mark.parametrize("left", [0, 1, 100])
def test_cut_file_is_reported_and_never_passes(fresh: Path, name: str, left: int) -> None:
    data = (fresh / name).read_bytes()
    (fresh / name).write_bytes(data[: len(data) * left // 101])
    report = judge_run(fresh).report
    assert report.verdict != "PASS"
    assert (fresh / PAGE).is_file()


def test_folder_that_is_no_run_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        judge_run(tmp_path)


def test_verifiers_that_judged_first_judge_again(fresh: Path) -> None:
    judge_run(fresh)
    stored = fresh / VERIFIERS / "no_loss.py"
    stored.write_text(stored.read_text() + "\n# changed by somebody\n")
    judged = judge_run(fresh, write=False)
    assert not judged.own
    hashes = {one.name: one.source for one in judged.report.verifiers}
    assert hashes["no_loss"] != next(v["source"] for v in verdict(fresh)["verifiers"] if v["name"] == "no_loss")


def test_process_prints_one_json_line_and_ends_with_the_verdict(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge.main([str(fresh), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    event = json.loads(lines[0])
    assert (event["event"], event["verdict"], event["run_dir"]) == ("verdict", "PASS", str(fresh))
    assert Path(event["report"]).is_file()


def test_process_says_an_error_as_an_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge.main([str(tmp_path), "--json"]) == Exit.USAGE
    event = json.loads(capsys.readouterr().out)
    assert event["event"] == "error"
    assert "not a run directory" in event["message"]
