"""Blast radius: what the timeline may do at once, for how long, to how much of a cluster, and on whose hosts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaosd.cli import app
from chaosd.conductor import operator
from chaosd.conductor.client import RunRequest
from chaosd.conductor.stacks import wanted
from chaosd.experiment import document
from chaosd.experiment.limits import DEFAULT, Limits
from chaosd.experiment.parse import all_bundled, load, resolve
from chaosd.experiment.spec import Experiment
from chaosd.faults.table import forms
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import SourceError, UsageError

STACK = """\
stack:
  provider: external
  kafka: {direct: "db.example:9092", proxied: "db.example:19092", upstream: "db.example:9094"}
  redis: {direct: "127.0.0.1:6379", proxied: "127.0.0.1:16379", upstream: "127.0.0.1:6379"}
  postgres: {direct: "127.0.0.1:5432", proxied: "127.0.0.1:15432", upstream: "127.0.0.1:5432"}
  toxiproxy: 127.0.0.1:8474
"""


@pytest.fixture(autouse=True)
def operators_file(tmp_path, monkeypatch) -> Path:
    """The operator's file of this test; a machine's own must not matter."""
    path = tmp_path / "operator.yaml"
    path.write_text("chaosd: 1\n")
    monkeypatch.setenv(operator.VARIABLE, str(path))
    return path


def test_the_operators_file_has_a_schema_with_durations_as_text(capsys):
    assert app.run(["schema", "operator"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["properties"]) == {"chaosd", "allow_hosts", "limits"}
    assert told["$defs"]["LimitsForm"]["properties"]["fault_lasts"]["anyOf"][0]["type"] == "string"


def parse(steps: str, more: str = "", limits: Limits = DEFAULT) -> Experiment:
    text = f"chaosd: 1\ntitle: t\n{more}timeline:\n" + "".join(f"  - {step}\n" for step in steps.splitlines())
    return resolve(document.parse(text, "x.yaml"), forms(), name="x", limits=limits)


def refused(steps: str, more: str = "", limits: Limits = DEFAULT) -> SourceError:
    with pytest.raises(SourceError) as caught:
        parse(steps, more, limits)
    return caught.value


TWO = """\
{at: 0s, for: 4s, fault: down, on: redis}
{at: 2s, for: 4s, fault: down, on: postgres}"""


def test_every_bundled_experiment_is_within_the_defaults():
    for path in all_bundled().values():
        load(str(path), forms())


def test_faults_at_once_are_refused_with_line_limit_and_remedy():
    error = refused(TWO, limits=Limits(faults_at_once=1, set_by=(("faults_at_once", "/etc/op.yaml"),)))
    assert error.message == (
        "x.yaml:5:5: timeline[1]: 2 faults at once: down on redis, down on postgres; "
        "expected at most 1 (limit faults_at_once, /etc/op.yaml)"
    )
    assert error.remedy == "spread them over time, or raise `faults_at_once` in the operator's file (docs/safety.md)"


def test_faults_one_after_the_other_are_one_at_a_time():
    parse(TWO.replace("at: 2s", "at: 5s"), limits=Limits(faults_at_once=1))
    parse(TWO, limits=Limits(faults_at_once=2))


def test_an_experiment_may_tighten_and_never_loosen():
    tight = parse(TWO, "limits: {faults_at_once: 2, fault_lasts: 4s}\n").limits
    assert (tight.faults_at_once, tight.fault_lasts_ns) == (2, 4 * SECOND)
    assert tight.who("faults_at_once") == "limits of this experiment"
    error = refused(TWO, "limits: {faults_at_once: 1}\n")
    assert "(limit faults_at_once, limits of this experiment)" in error.message
    assert "operator" not in error.remedy
    assert "at most 1 (limit faults_at_once, the default)" in refused(
        TWO, "limits: {faults_at_once: 50}\n", Limits(faults_at_once=1)
    ).message  # fmt: skip


def test_a_fault_that_lasts_too_long_is_refused():
    message = refused("{at: 0s, for: 11m, fault: down, on: redis}").message
    assert "timeline[0]: down on redis lasts 660s; expected at most 600s (limit fault_lasts, the default)" in message
    parse("{at: 0s, for: 10m, fault: down, on: redis}")


CLUSTER = "stack: {kafka: {brokers: 3}}\n"
BROKERS = """\
{at: 0s, for: 4s, fault: pause, on: kafka/1}
{at: 2s, for: 4s, fault: pause, on: kafka/2}"""


def test_too_many_brokers_at_once_are_refused():
    limits = Limits(brokers=0.34)
    message = refused(BROKERS, CLUSTER, limits).message
    assert "timeline[1]: 2 of 3 brokers are hit at once; expected at most 1 of 3 (34%)" in message
    parse(BROKERS.replace("at: 2s", "at: 5s"), CLUSTER, limits)
    parse(BROKERS, CLUSTER, Limits(brokers=0.67))
    assert "3 of 3 brokers" in refused("{at: 0s, for: 4s, fault: down, on: kafka}", CLUSTER, limits).message


def test_the_only_broker_may_be_hit():
    parse("{at: 0s, for: 4s, fault: down, on: kafka}", limits=Limits(brokers=0.1))


def test_limits_of_the_operator_hold_on_the_command_line(tmp_path, operators_file, capsys):
    operators_file.write_text("chaosd: 1\nlimits: {faults_at_once: 1}\n")
    path = tmp_path / "two.yaml"
    path.write_text("chaosd: 1\ntitle: t\ntimeline:\n" + "".join(f"  - {step}\n" for step in TWO.splitlines()))
    for command in ("plan", "run"):
        assert app.run([command, str(path)]) == 2
        told = capsys.readouterr().err
        assert f"at most 1 (limit faults_at_once, {operators_file})" in told
        assert "remedy: spread them over time" in told
    operators_file.write_text("chaosd: 1\n")
    assert app.run(["plan", str(path)]) == 0
    assert "at most 8 faults at once (the default)" in capsys.readouterr().out


def test_a_mistake_in_the_operators_file_is_told_with_its_place(operators_file):
    operators_file.write_text("chaosd: 1\nlimit: {faults_at_once: 1}\n")
    with pytest.raises(SourceError, match="did you mean 'limits'"):
        operator.read()
    operators_file.unlink()
    with pytest.raises(UsageError):
        operator.read()


def test_without_an_operators_file_the_defaults_hold(monkeypatch, tmp_path):
    monkeypatch.delenv(operator.VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert operator.read() == operator.Operator()


def test_a_foreign_host_needs_the_operators_word(tmp_path, operators_file):
    path = tmp_path / "stack.yaml"
    path.write_text(STACK)
    request = RunRequest("control", stack="external", stack_file=str(path))
    with pytest.raises(UsageError, match=r"kafka\.direct is on db\.example, which is not this machine") as caught:
        wanted(request)
    assert str(operators_file) in caught.value.remedy
    operators_file.write_text("chaosd: 1\nallow_hosts: [db.example]\n")
    wanted(request)


def test_an_experiment_cannot_allow_itself_a_host():
    with pytest.raises(SourceError, match="unknown key"):
        parse(TWO, "allow_hosts: [db.example]\n")
