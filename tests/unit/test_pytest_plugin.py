"""The pytest plugin in a pytest of its own. A stub stands in for the bench, and says how runs end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chaosd.conductor.follow import Ending
from chaosd.kernel.errors import Exit, StackError
from chaosd.pytest_plugin import bench, items

pytest_plugins = ["pytester"]

# Plugins that have nothing to do here and take seconds.
QUIET = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:hypothesispytest", "--assert=plain")

# Loaded here once: what an inner pytest loads is unloaded after it, and would be loaded again by each.
assert items

EXPERIMENT = """\
chaosd: 1
title: Redis answers late
target: reference
traffic: {rate: 200/s}
timeline:
  - {at: 0s, for: 2s, fault: latency, on: redis, latency: 100ms}
"""


class StubBench:
    """Stands in for the bench: starts nothing, ends each run as the file `outcome` says."""

    def __init__(self, config: pytest.Config) -> None:
        Path("made").write_text("", encoding="utf-8")

    def run(self, experiment: Path, on_event: Callable[[dict[str, str]], None]) -> Ending:
        on_event({"event": "run", "run_id": "run-1", "run_dir": "/runs/run-1"})
        on_event({"event": "fault", "fault": "latency", "on": "redis", "state": "injected", "text": ""})
        word = Path("outcome").read_text(encoding="utf-8")
        if word == "no_stack":
            raise StackError("no stack today", remedy="buy one")
        code, verdict = (Exit.PASS, "FAIL") if word == "known" else (Exit[word], word)
        return Ending("run-1", None, verdict, ("no_loss:LOST",), code, "so it is", "do it better")

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


def test_an_experiment_is_one_test_named_after_its_file(site):
    result = site("PASS", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*redis-late.chaos.yaml::redis-late PASSED*"])
    assert (site.path / "closed").exists()


def test_other_yaml_files_are_left_alone(site):
    (site.path / "redis-late.chaos.yaml").rename(site.path / "redis-late.yaml")
    site("PASS").assert_outcomes()
    assert not (site.path / "made").exists()


def test_collecting_starts_nothing(site):
    site("PASS", "--collect-only", "-q").stdout.fnmatch_lines(["redis-late.chaos.yaml::redis-late"])
    assert not (site.path / "made").exists()


def test_a_failure_shows_verdict_and_remedy_and_no_traceback(site):
    result = site("FAIL")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*chaos experiment redis-late*", "so it is", "  remedy: do it better", "exit code 1 (fail)"]
    )
    result.stdout.fnmatch_lines(["*Captured chaosd call*", "run run-1 in /runs/run-1", "!! latency on redis injected"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*items.py*")


def test_a_known_failure_passes(site):
    site("known").assert_outcomes(passed=1)


def test_inconclusive_fails_unless_it_shall_skip(site):
    site("INCONCLUSIVE").assert_outcomes(failed=1)
    site("INCONCLUSIVE", "--chaos-inconclusive=fail").assert_outcomes(failed=1)
    skipped = site("INCONCLUSIVE", "--chaos-inconclusive=skip", "-rs")
    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines(["SKIPPED*redis-late.chaos.yaml:1: INCONCLUSIVE: no_loss:LOST*"])


@pytest.mark.parametrize("outcome", ["FAIL", "UNHEALED", "ABORTED"])
def test_skipping_the_inconclusive_hides_nothing_else(site, outcome):
    site(outcome, "--chaos-inconclusive=skip").assert_outcomes(failed=1)


def test_a_stack_that_cannot_be_had_fails_the_test_with_the_remedy(site):
    result = site("no_stack")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no stack today", "  remedy: buy one"])


def test_a_mistake_in_the_file_is_told_with_its_line_when_it_is_collected(site):
    path = site.path / "redis-late.chaos.yaml"
    path.write_text(EXPERIMENT.replace("latency, on", "latencie, on"), encoding="utf-8")
    result = site("PASS")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*redis-late.chaos.yaml:6:*latencie*did you mean 'latency'*"])
    assert not (site.path / "made").exists()


def test_experiments_can_be_left_out_by_their_marker(site):
    site("PASS", "-m", "not chaos", "--strict-markers").assert_outcomes(deselected=1)
    site("PASS", "-m", "chaos", "--strict-markers").assert_outcomes(passed=1)


def test_verdict_and_run_directory_are_in_the_junit_report(site):
    site("FAIL", "--junitxml=junit.xml")
    assert '<property name="chaosd_verdict" value="FAIL"' in (site.path / "junit.xml").read_text(encoding="utf-8")


def test_every_worker_of_xdist_has_a_testbed_of_its_own():
    names = {bench.testbed_name({"PYTEST_XDIST_WORKER": worker}, 7) for worker in ("gw0", "gw1")}
    assert names == {"pytest-gw0-7", "pytest-gw1-7"}
    assert bench.testbed_name({}, 7) == "pytest-main-7"


def test_loading_the_plugin_imports_nothing_heavy():
    code = "import sys, chaosd.pytest_plugin.plugin; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    heavy = {"aiokafka", "asyncio", "asyncpg", "fastapi", "msgspec", "numpy", "pydantic", "redis", "rich", "typer"}
    assert heavy.isdisjoint(done.stdout.split())
    assert "pytest" in done.stdout.split()
