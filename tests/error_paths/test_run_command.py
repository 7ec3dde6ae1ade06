"""`chaosd run` against a stub that speaks like a conductor: its ends, its sudden death, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import run_directory

from chaosd.cli import follow
from chaosd.cli.app import run as chaosd
from chaosd.cli.follow import Ended, Follower
from chaosd.conductor.client import RunHandle, RunRequest
from chaosd.kernel.errors import Exit
from chaosd.process.control import Child
from chaosd.report.judge import judge_run

STUB = Path(__file__).resolve().parents[1] / "stub_conductor.py"


class Recorder:
    """A view that keeps the events, and lets a test act when one of them comes."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.closed = False
        self.when: dict[str, Any] = {}

    def on(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        act = self.when.get(str(event.get("text")))
        if act is not None:
            act()

    def close(self) -> None:
        self.closed = True

    @property
    def notes(self) -> list[str]:
        return [event["text"] for event in self.events if event["event"] == "note"]


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(follow.live, "make", lambda *args, **kwargs: recorder)
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    return recorder


def behave(monkeypatch: pytest.MonkeyPatch, *behaviours: str, run_dir: Path) -> None:
    """Let the conductors that are started one after the other be stubs."""
    script = iter(behaviours)

    async def start(request: RunRequest, log: Path) -> RunHandle:
        log.parent.mkdir(parents=True, exist_ok=True)
        child = await Child.start([sys.executable, "-S", str(STUB), next(script), str(run_dir)], stderr_log=log)
        await child.send({"cmd": "run", "experiment": request.experiment})
        return RunHandle(child)

    monkeypatch.setattr(follow, "start", start)


async def followed(tmp_path: Path, *, as_json: bool = False) -> Ended:
    request = RunRequest(experiment="redis-delay", runs_dir=str(tmp_path / "runs"))
    return await Follower("Redis late", 5000.0, as_json=as_json).follow(request)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    run_dir = run_directory.write(tmp_path / "runs" / run_directory.RUN_ID)
    judge_run(run_dir)
    return run_dir


@pytest.mark.parametrize(("behaviour", "code", "word"), [("pass", Exit.PASS, "PASS"), ("fail", Exit.FAIL, "FAIL")])
async def test_run_ends_with_the_conductors_code(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, behaviour: str, code: Exit, word: str
) -> None:
    behave(monkeypatch, behaviour, run_dir=judged)
    assert await followed(tmp_path) == Ended(code, word, f"{judged}/report.html")
    assert view.closed


async def test_summary_names_report_and_the_command_that_repeats(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, "pass", run_dir=judged)
    await followed(tmp_path)
    out = capsys.readouterr().out
    assert "PASS" in out
    assert str(judged / "report.html") in out
    assert "chaosd run experiment redis-delay --seed 7" in out


async def test_error_of_the_conductor_is_said_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, "refuse", run_dir=judged)
    assert (await followed(tmp_path)).code is Exit.USAGE
    assert capsys.readouterr().err == "chaosd: halted\n  | since noon\n  remedy: chaosd resume\n"


async def test_not_healed_outweighs_a_pass(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path
) -> None:
    behave(monkeypatch, "unhealed", run_dir=judged)
    assert (await followed(tmp_path)).code is Exit.UNHEALED


async def test_break_after_the_verdict_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, "break_at_the_end", run_dir=judged)
    assert (await followed(tmp_path)).code is Exit.ABORTED
    assert "a late mistake" in capsys.readouterr().err


async def test_first_ctrl_c_aborts_and_the_second_says_that_healing_goes_on(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path
) -> None:
    behave(monkeypatch, "wait_for_abort", run_dir=judged)

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        view.when = {"interrupted: healing what is broken, then ending the run": once}

    def once() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    view.when = {"ready to be interrupted": twice}
    ended = await followed(tmp_path)
    assert (ended.code, ended.word) == (Exit.ABORTED, "INCONCLUSIVE, aborted")
    assert view.notes[0] == "ready to be interrupted"
    assert "interrupted: healing what is broken, then ending the run" in view.notes
    assert "told: interrupted by Ctrl-C" in view.notes
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_sudden_death_is_judged_nevertheless(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = run_directory.write(tmp_path / "runs" / run_directory.RUN_ID, sealed=False)
    behave(monkeypatch, "die", run_dir=run_dir)
    ended = await followed(tmp_path)
    assert (ended.code, ended.word) == (Exit.ABORTED, "INCONCLUSIVE")
    said = capsys.readouterr()
    assert "killed by SIGKILL" in said.err
    assert "unsealed" in said.out
    assert (run_dir / "report.html").is_file()


async def test_sudden_death_with_an_open_lease_is_not_healed(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = run_directory.write(tmp_path / "runs" / run_directory.RUN_ID, sealed=False)
    behave(monkeypatch, "die", run_dir=run_dir)
    monkeypatch.setattr(follow, "_HEAL_DEADLINE_S", 0.3)
    lease = SimpleNamespace(run_id=run_directory.RUN_ID)
    monkeypatch.setattr("chaosd.healing.leases.Leases.all", lambda leases: [lease])
    assert (await followed(tmp_path)).code is Exit.UNHEALED
    assert "remedy: chaosd heal" in capsys.readouterr().err


async def test_death_before_the_run_shows_the_conductors_own_words(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "runs" / "conductor.log"
    log.parent.mkdir()
    log.write_text("words of an earlier run\n")
    behave(monkeypatch, "die_at_once", run_dir=tmp_path)
    assert (await followed(tmp_path)).code is Exit.ABORTED
    err = capsys.readouterr().err
    assert "a bad start" in err
    assert "earlier run" not in err


async def test_death_without_any_journal_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, "die", run_dir=tmp_path / "runs" / "nothing")
    assert (await followed(tmp_path)).code is Exit.ABORTED
    assert "cannot be judged" in capsys.readouterr().err


async def test_json_prints_the_events_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, "pass", run_dir=judged)
    await followed(tmp_path, as_json=True)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["run", "phase", "verdict"]
    assert not view.events


def experiment(tmp_path: Path, name: str = "calm.yaml") -> str:
    path = tmp_path / name
    path.write_text(
        "chaosd: 1\ntitle: Calm\ntarget: reference\ntraffic: {rate: 50/s, streams: 4}\n"
        "timeline:\n  - {at: 0s, for: 1s, fault: latency, on: redis, latency: 50ms}\n"
        "expect:\n  recovery: {within: 5s, from: heal}\n"
    )
    return str(path)


def command(tmp_path: Path, *names: str) -> int:
    return chaosd(["run", *names, "--runs-dir", str(tmp_path / "runs"), "--plain"])


def test_several_runs_end_with_the_worst_code_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, "fail", "pass", run_dir=judged)
    assert command(tmp_path, experiment(tmp_path), experiment(tmp_path, "other.yaml")) == Exit.FAIL
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ["FAIL", "PASS"]


def test_nothing_is_run_after_an_aborted_run(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, "die_at_once", run_dir=tmp_path)
    assert command(tmp_path, experiment(tmp_path), experiment(tmp_path, "other.yaml")) == Exit.ABORTED
    assert "not run" in capsys.readouterr().out.splitlines()[-1]


def test_a_series_that_was_broken_off_goes_on_and_tells_how_likely_recovery_is(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = experiment(tmp_path)
    behave(monkeypatch, "pass", "die_at_once", run_dir=judged)
    assert command(tmp_path, name, "--repeat", "3") == Exit.ABORTED
    stored = tmp_path / "runs" / "series.json"
    assert len(json.loads(stored.read_bytes())["runs"]) == 1
    behave(monkeypatch, "pass", "pass", run_dir=judged)
    # What the series says is what verdict.json says, whatever a conductor claims.
    code = command(tmp_path, name, "--repeat", "3")
    told = json.loads(stored.read_bytes())
    assert [run["repetition"] for run in told["runs"]] == [0, 1, 2]
    assert code == max(run["exit"] for run in told["runs"])
    assert [claim["runs"] for claim in told["claims"]] == [3]
    assert "P(recovery ≤ 5 s) is in [" in capsys.readouterr().out
    behave(monkeypatch, run_dir=judged)
    assert command(tmp_path, name, "--repeat", "3") == code  # nothing is left to run


def test_a_series_of_another_plan_is_not_mixed_in(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = experiment(tmp_path)
    behave(monkeypatch, "pass", "pass", run_dir=judged)
    command(tmp_path, name, "--repeat", "2")
    assert command(tmp_path, name, "--repeat", "2", "--profile", "quick") == Exit.USAGE
    assert "a series of another plan: profile differ" in capsys.readouterr().err


def test_mistake_in_the_last_file_stops_all_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, view: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(monkeypatch, run_dir=tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text("chaosd: 1\ntimeline: 7\n")
    assert command(tmp_path, "experiment", experiment(tmp_path), str(broken)) == Exit.USAGE
    assert "broken.yaml" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--stack", "embeded"], "'embedded'"), (["--profile", "fast"], "profile")]
)
def test_unknown_choice_is_a_usage_error(
    view: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert chaosd(["run", experiment(tmp_path), *arguments]) == Exit.USAGE
    assert told in capsys.readouterr().err
