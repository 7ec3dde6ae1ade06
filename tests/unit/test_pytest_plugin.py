"""The pytest plugin in a pytest of its own. A stub stands in for the bench, and says how runs end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import report_sample

from chaosd.conductor.follow import Ending
from chaosd.kernel.errors import Exit, StackError
from chaosd.pytest_plugin import bench, items, outcome
from chaosd.report import model

pytest_plugins = ["pytester"]

# Plugins that have nothing to do here and take seconds.
QUIET = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:hypothesispytest", "--assert=plain")

# Loaded here once: what an inner pytest loads is unloaded after it, and would be loaded again by each.
assert items
assert outcome

GROUPS = items.groups(replay=False)
COUNT = 1 + len(GROUPS)
EXPERIMENT = """\
chaosd: 1
title: Redis answers late
target: reference
traffic: {rate: 200/s}
timeline:
  - {at: 0s, for: 2s, fault: latency, on: redis, latency: 100ms}
"""
LIFELINE = report_sample.LIFELINE


def verdict_of(word: str) -> model.Report:
    """A report as the judge writes it: `no_loss` has the trouble, or the run itself."""

    def told(name: str) -> model.Verifier:
        if name != "no_loss" or word in ("PASS", "no_bite"):
            return model.Verifier(name=name, verdict="PASS", reasons=(), counts={}, witnesses=())
        grade, reason = ("INCONCLUSIVE", "UNSEEN") if word == "INCONCLUSIVE" else ("FAIL", "LOST")
        witness = model.Witness(anomaly=reason, stream=2, seq=1290, hop="committed past", lifeline=LIFELINE)
        return model.Verifier(name=name, verdict=grade, reasons=(reason,), counts={reason: 17}, witnesses=(witness,))

    known = None
    if word in ("known", "not_as_known"):
        known = model.Known(verdict="FAIL", classes=("LOST",), why="ticket 7", matched=word == "known")
    grade = {"PASS": "PASS", "INCONCLUSIVE": "INCONCLUSIVE", "no_bite": "INCONCLUSIVE"}.get(word, "FAIL")
    code = 0 if word == "known" else {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[grade]
    reasons = {"PASS": (), "no_bite": ("no_bite:1-latency-redis",)}.get(word, ("no_loss:LOST",))
    return report_sample.report(
        verdict=grade, exit=code, reasons=reasons, verifiers=tuple(map(told, GROUPS)), recovery=(), known=known
    )


class StubBench:
    """Stands in for the bench: starts nothing, ends each run as the file `outcome` says."""

    def __init__(self, config: pytest.Config) -> None:
        Path("made").write_text("", encoding="utf-8")

    def run(
        self, experiment: str, on_event: Callable[[dict[str, str]], None], *, once: str = "", seed: int | None = None
    ) -> Ending:
        with Path("runs").open("a", encoding="utf-8") as runs:
            runs.write(f"{once}\n")
        on_event({"event": "run", "run_id": "run-1", "run_dir": "/runs/run-1"})
        on_event({"event": "fault", "fault": "latency", "on": "redis", "state": "injected", "text": ""})
        word = Path("outcome").read_text(encoding="utf-8")
        if word in ("UNHEALED", "ABORTED", "USAGE"):
            return Ending("run-1", None, "", (), Exit[word], "so it is", "do it better")
        report = verdict_of(word)
        folder = Path("run-1").absolute()
        folder.mkdir(exist_ok=True)
        (folder / "verdict.json").write_bytes(model.encode(report))
        return Ending("run-1", folder, report.verdict, report.reasons, Exit(report.exit))

    def close(self) -> None:
        Path("closed").write_text("", encoding="utf-8")


@pytest.fixture
def site(pytester, monkeypatch):
    """A folder with one experiment; `run(outcome, options…)` runs a pytest with the stub bench in it."""
    monkeypatch.setattr(bench, "Bench", StubBench)
    (pytester.path / "redis-late.chaos.yaml").write_text(EXPERIMENT, encoding="utf-8")

    def run(outcome: str, *options: str) -> pytest.RunResult:
        (pytester.path / "outcome").write_text(outcome, encoding="utf-8")
        return pytester.runpytest_inprocess(*QUIET, *options)

    run.path = pytester.path
    return run


def test_an_experiment_is_a_test_for_its_run_and_one_for_each_group_of_expectations(site):
    result = site("PASS", "-v")
    result.assert_outcomes(passed=COUNT)
    for name in ("run", "loss", "duplicates", "order", "integrity", "system_errors", "recovery"):
        result.stdout.fnmatch_lines([f"*redis-late.chaos.yaml::redis-late::{name} PASSED*"])
    assert (site.path / "closed").exists()
    assert (site.path / "runs").read_text(encoding="utf-8").splitlines() == ["redis-late.chaos.yaml::redis-late"]


def test_replays_are_a_group_only_where_the_experiment_has_some(site):
    told = "redis-late.chaos.yaml::redis-late::replays"
    site("PASS", "--collect-only", "-q").stdout.no_fnmatch_line(told)
    (site.path / "redis-late.chaos.yaml").write_text(f"{EXPERIMENT}replay: dlq\n", encoding="utf-8")
    site("PASS", "--collect-only", "-q").stdout.fnmatch_lines([told])


def test_a_single_group_can_be_asked_for_and_has_the_experiment_run(site):
    site("PASS", "redis-late.chaos.yaml::redis-late::loss").assert_outcomes(passed=1)
    assert len((site.path / "runs").read_text(encoding="utf-8").splitlines()) == 1


def test_other_yaml_files_are_left_alone_unless_an_option_names_them(site):
    (site.path / "redis-late.chaos.yaml").rename(site.path / "redis-late.yaml")
    site("PASS").assert_outcomes()
    assert not (site.path / "made").exists()
    site("PASS", "--chaos-files=other/*.yaml").assert_outcomes()
    site("PASS", "--chaos-files=*.yaml").assert_outcomes(passed=COUNT)


def test_collecting_starts_nothing(site):
    site("PASS", "--collect-only", "-q").stdout.fnmatch_lines(["redis-late.chaos.yaml::redis-late::run"])
    assert not (site.path / "made").exists()


def test_a_broken_promise_fails_its_own_test_with_the_story_of_a_witness_and_no_other(site):
    result = site("FAIL", "-rA")
    result.assert_outcomes(failed=1, passed=COUNT - 1)
    result.stdout.fnmatch_lines(
        [
            "*chaos experiment redis-late: loss*",
            "FAIL  no_loss: LOST*",
            "*17 × LOST  accepted by the broker, and its result never came out*",
            "*LOST  stream 2, envelope 1290 · committed past*",
            "*21.010 s*acked*",
            "*report*run-1/report.html",
            "*again*chaosd run experiment redis-latency --seed 42",
            "*verify*chaosd verify*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*items.py*")


def test_what_happened_in_the_run_is_shown_with_the_first_of_its_tests(site):
    result = site("no_bite")
    result.stdout.fnmatch_lines(["*Captured chaosd call*", "run run-1 in /runs/run-1", "!! latency on redis injected"])


def test_a_doubt_about_the_whole_run_fails_the_test_of_the_run(site):
    result = site("no_bite")
    result.assert_outcomes(failed=1, passed=COUNT - 1)
    result.stdout.fnmatch_lines(["*redis-late: run*", "INCONCLUSIVE*", "*no_bite*"])


def test_a_known_failure_is_an_expected_one(site):
    result = site("known", "-rx")
    result.assert_outcomes(xfailed=1, passed=COUNT - 1)
    result.stdout.fnmatch_lines(["XFAIL*::loss*known: FAIL LOST ticket 7*"])


def test_another_failure_than_the_known_one_fails_the_run_too(site):
    site("not_as_known").assert_outcomes(failed=2, passed=COUNT - 2)


def test_inconclusive_fails_unless_it_shall_skip(site):
    site("INCONCLUSIVE").assert_outcomes(failed=1, passed=COUNT - 1)
    site("no_bite", "--chaos-inconclusive=fail").assert_outcomes(failed=1, passed=COUNT - 1)
    skipped = site("INCONCLUSIVE", "--chaos-inconclusive=skip", "-rs")
    skipped.assert_outcomes(skipped=1, passed=COUNT - 1)
    skipped.stdout.fnmatch_lines(["SKIPPED*redis-late.chaos.yaml:1: INCONCLUSIVE: UNSEEN*"])
    site("no_bite", "--chaos-inconclusive=skip").assert_outcomes(skipped=1, passed=COUNT - 1)


@pytest.mark.parametrize("outcome", ["UNHEALED", "ABORTED", "USAGE"])
def test_a_run_without_a_verdict_passes_nothing_and_is_not_skipped(site, outcome):
    result = site(outcome, "--chaos-inconclusive=skip")
    result.assert_outcomes(failed=COUNT)
    result.stdout.fnmatch_lines(["so it is", "  remedy: do it better", f"exit code * ({outcome.lower()})"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_first_failure_can_end_the_session(site):
    result = site("FAIL", "-x")
    assert result.parseoutcomes()["failed"] == 1
    assert (site.path / "closed").exists()


def test_a_mistake_in_the_file_is_told_with_its_line_when_it_is_collected(site):
    path = site.path / "redis-late.chaos.yaml"
    path.write_text(EXPERIMENT.replace("latency, on", "latencie, on"), encoding="utf-8")
    result = site("PASS")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*redis-late.chaos.yaml:6:*latencie*did you mean 'latency'*"])
    assert not (site.path / "made").exists()


def test_experiments_can_be_left_out_by_their_marker(site):
    site("PASS", "-m", "not chaos", "--strict-markers").assert_outcomes(deselected=COUNT)
    site("PASS", "-m", "chaos", "--strict-markers").assert_outcomes(passed=COUNT)


def test_the_junit_report_holds_what_identifies_and_repeats_the_run(site):
    site("FAIL", "--junitxml=junit.xml")
    cases = {case.get("name"): case for case in ET.parse(site.path / "junit.xml").iter("testcase")}
    assert set(cases) == {"run", *GROUPS.values()}
    facts = {entry.get("name"): entry.get("value") for entry in cases["loss"].iter("property")}
    assert facts["chaosd_verdict"] == "FAIL"
    assert facts["chaosd_expectation"] == "FAIL"
    assert facts["chaosd_seed"] == "42"
    assert facts["chaosd_command"] == "chaosd run experiment redis-latency --seed 42"
    assert str(facts["chaosd_run_dir"]).endswith("run-1")


def test_without_the_plugin_the_files_are_nobodys(site):
    result = site("PASS", "-p", "no:chaosd")
    result.assert_outcomes()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("factor", ["0", "-1", "101", "much"])
def test_a_time_scale_that_is_none_is_refused(site, factor):
    assert site("PASS", f"--chaos-timeout-scale={factor}").ret == pytest.ExitCode.USAGE_ERROR


def test_every_worker_of_xdist_has_a_testbed_of_its_own():
    names = {bench.testbed_name({"PYTEST_XDIST_WORKER": worker}, 7) for worker in ("gw0", "gw1")}
    assert names == {"pytest-gw0-7", "pytest-gw1-7"}
    assert bench.testbed_name({}, 7) == "pytest-main-7"


async def test_a_worker_is_interrupted_when_its_controller_has_died_and_not_before(monkeypatch):
    parents, sent = [7, 7, 7, 1], []
    monkeypatch.setattr(bench, "_LOOK_S", 0)
    monkeypatch.setattr(bench.os, "getppid", lambda: parents.pop(0))
    monkeypatch.setattr(bench.signal, "pthread_kill", lambda thread, sig: sent.append((thread, sig, len(parents))))
    await bench.interrupt_when_alone(7)
    assert sent == [(threading.main_thread().ident, signal.SIGINT, 0)]


def test_loading_the_plugin_imports_nothing_but_itself():
    code = (
        "import sys, pytest, __future__; before = set(sys.modules); import chaosd.pytest_plugin.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    own = {f"chaosd.pytest_plugin{module}" for module in ("", ".plugin", ".fixtures", ".sessions")}
    assert set(done.stdout.split()) == {"chaosd", *own}


def test_a_stack_that_cannot_be_had_is_an_ending_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path))
    options = {"--chaos-seed": None, "--chaos-stack": "embedded", "--chaos-profile": "quick"}
    options |= {"--chaos-timeout-scale": 1.0, "--chaos-runs-dir": "runs", "--chaos-report-dir": None}

    class Config:
        rootpath = tmp_path
        invocation_params = pytest.Config.InvocationParams(args=(), plugins=None, dir=tmp_path)
        getoption = staticmethod(options.__getitem__)

    async def refuse(self):
        raise StackError("no stack today", remedy="buy one")

    made = bench.Bench(Config())
    monkeypatch.setattr(bench.Bench, "_open", refuse)
    ending = made.run("redis-late.chaos.yaml", lambda event: None)
    made.close()
    assert (ending.verdict, ending.exit, ending.error, ending.remedy) == ("", Exit.USAGE, "no stack today", "buy one")
