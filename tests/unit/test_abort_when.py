"""`abort_when`: what people may write, when each guard speaks, and that a probe is bounded and no shell line."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from waits import until

from chaosd.conductor.abort import Limits, Seen, guarding, once
from chaosd.conductor.guards import Stop
from chaosd.experiment import document
from chaosd.experiment.guards import ErrorRate, Guards, Probe
from chaosd.experiment.parse import resolve
from chaosd.experiment.schema import experiment_schema
from chaosd.experiment.spec import Experiment
from chaosd.kernel.clock import MS, SECOND, SystemClock
from chaosd.kernel.errors import SourceError
from chaosd.process import spawn

HEAD = "chaosd: 1\ntitle: t\ntimeline: []\n"
SEEN = Seen(t_ns=0, age_ms=0, results=0, errors=0, target_rss_bytes=0)


def parse(text: str) -> Experiment:
    return resolve(document.parse(HEAD + text, "x.yaml"), {}, name="x")


def refused(text: str) -> str:
    with pytest.raises(SourceError) as caught:
        parse(text)
    return caught.value.message


def test_guards_are_read_with_their_units_and_defaults():
    guards = parse("""\
abort_when:
  age: 30s
  error_rate: {above: 20%}
  target_rss: 600MB
  probes:
    - {command: [curl, -fsS, "http://127.0.0.1:1/health"], failures: 3}
""").abort_when
    assert guards == Guards(
        age_ns=30 * SECOND,
        error_rate=ErrorRate(0.2, 5 * SECOND),
        target_rss_bytes=600_000_000,
        probes=(Probe(("curl", "-fsS", "http://127.0.0.1:1/health"), 2 * SECOND, SECOND, 3),),
    )
    assert guards.to_json()["probes"][0]["command"][0] == "curl"
    assert len(guards.lines()) == 4


def test_an_experiment_without_guards_has_none():
    experiment = parse("")
    assert not experiment.abort_when
    assert experiment.abort_when.lines() == []
    assert experiment.to_json()["abort_when"] == {}


def test_mistakes_are_told_with_their_place():
    told = refused("abort_when:\n  age: 30\n  error_rat: {above: 20%}\n  error_rate: {above: 0%}\n")
    assert "x.yaml:5:3: abort_when.age" in told
    assert "did you mean 'error_rate'?" in told
    assert "a share above 0%" in told


def test_a_shell_line_is_no_command():
    assert "abort_when.probes[0].command" in refused('abort_when:\n  probes:\n    - {command: "curl x | grep ok"}\n')
    assert "abort_when.probes[0].command" in refused("abort_when:\n  probes:\n    - {command: []}\n")


def test_editors_are_offered_the_guards():
    schema = experiment_schema({})
    assert set(schema["$defs"]["GuardsForm"]["properties"]) == {"age", "error_rate", "target_rss", "probes"}


@pytest.mark.parametrize(("age_ms", "speaks"), [(29_999, False), (30_001, True)])
def test_age_speaks_above_its_limit(age_ms, speaks):
    why = Limits(Guards(age_ns=30 * SECOND)).exceeded(replace(SEEN, age_ms=age_ms))
    assert bool(why) is speaks
    assert not why or "abort_when.age: the oldest due envelope is 30.0 s old, the limit is 30s" in why


@pytest.mark.parametrize(("rss", "speaks"), [(600_000_000, False), (600_000_001, True)])
def test_memory_speaks_above_its_limit(rss, speaks):
    why = Limits(Guards(target_rss_bytes=600_000_000)).exceeded(replace(SEEN, target_rss_bytes=rss))
    assert bool(why) is speaks


def told(limits: Limits, *rows: tuple[float, int, int]) -> list[bool]:
    """Whether the error rate spoke after each (second, results, errors)."""
    seen = [replace(SEEN, t_ns=round(at * SECOND), results=results, errors=errors) for at, results, errors in rows]
    return [bool(limits.exceeded(one)) for one in seen]


def test_error_rate_counts_its_window_only():
    limits = Limits(Guards(error_rate=ErrorRate(0.2, 2 * SECOND)))
    # A bad start that is over by now; then good; then more than a fifth of the last two seconds.
    assert told(limits, (0, 0, 0), (1, 100, 20), (4, 400, 20), (5, 500, 20), (6, 600, 50)) == [False] * 5
    assert told(limits, (7, 700, 61), (8, 800, 100)) == [True, True]


def test_error_rate_of_a_handful_of_results_is_none():
    limits = Limits(Guards(error_rate=ErrorRate(0.2, 2 * SECOND)))
    assert told(limits, (0, 0, 0), (1, 10, 10), (2, 19, 19), (2, 20, 20)) == [False, False, False, True]


def program(tmp_path: Path, text: str) -> spawn.Recipe:
    return spawn.Recipe((sys.executable, "-S", "-c", text), {}, "/", str(tmp_path / "probe.log"))


def test_a_probe_says_yes_by_its_exit_code_alone(tmp_path):
    assert once(program(tmp_path, "print('all is lost')"), 30, "m") == ""
    assert once(program(tmp_path, "import sys; sys.exit('disk at 97%')"), 30, "m") == "exit code 1, disk at 97%"


def test_a_probe_that_hangs_or_is_not_there_has_failed(tmp_path):
    began = time.monotonic()
    assert "did not end within" in once(program(tmp_path, "import time; time.sleep(60)"), 0.2, "m")
    assert time.monotonic() - began < 30
    assert "cannot start /nowhere/probe" in once(
        spawn.Recipe(("/nowhere/probe",), {}, "/", str(tmp_path / "l")), 1, "m"
    )


class Facts:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def append(self, kind: str, *, durable: bool, guard: str, why: str) -> None:
        self.said.append((kind, guard))


def setting(tmp_path: Path, guards: Guards) -> tuple[SimpleNamespace, SimpleNamespace, Facts]:
    (tmp_path / "logs").mkdir()
    facts = Facts()
    context = SimpleNamespace(
        experiment=SimpleNamespace(abort_when=guards), clock=SystemClock(), facts=facts, run_dir=tmp_path,
        testbed=SimpleNamespace(record=SimpleNamespace(marker="test-abort-when")),
    )  # fmt: skip
    return context, SimpleNamespace(tap=SimpleNamespace(last={}), target_rss_bytes=0), facts


async def test_a_guard_that_speaks_ends_the_run_and_is_in_the_journal(tmp_path):
    context, instruments, facts = setting(tmp_path, Guards(age_ns=SECOND))
    stop = Stop()
    async with guarding(context, instruments, stop):
        await asyncio.sleep(0.3)
        assert not stop.is_set()
        instruments.tap.last = {"age_ms": 2_000.0}
        await until(stop.is_set, within_s=20)
    assert stop.reason.startswith("abort_when.age")
    assert facts.said == [("guard_tripped", "abort_when.age")]


async def test_a_probe_must_fail_so_often_in_a_row(tmp_path):
    counter = tmp_path / "calls"
    text = f"import pathlib, sys; p = pathlib.Path({str(counter)!r}); n = len(p.read_text()) if p.exists() else 0\n"
    text += "p.write_text('x' * (n + 1)); sys.exit(n in (0, 2, 3, 4))"  # no, yes, no, no, no
    probe = Probe((sys.executable, "-S", "-c", text), every_ns=MS, timeout_ns=20 * SECOND, failures=3)
    context, instruments, facts = setting(tmp_path, Guards(probes=(probe,)))
    stop = Stop()
    async with guarding(context, instruments, stop):
        await until(stop.is_set, within_s=20)
    assert len(counter.read_text()) == 5
    assert "failed 3 times in a row: exit code 1" in stop.reason
    assert facts.said == [("guard_tripped", "abort_when.probes")]


async def test_without_guards_nothing_watches(tmp_path):
    context, instruments, facts = setting(tmp_path, Guards())
    instruments.tap.last = {"age_ms": 1e9}
    stop = Stop()
    async with guarding(context, instruments, stop):
        await asyncio.sleep(0.3)
    assert not stop.is_set()
    assert facts.said == []
