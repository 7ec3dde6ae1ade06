"""The experiments that travel with chaosd, and the commands that show them."""

from __future__ import annotations

import json

import pytest

from chaosd.catalogue import catalogue
from chaosd.cli.app import run
from chaosd.experiment.parse import all_bundled, expand, find, in_lab, load
from chaosd.kernel.clock import SECOND
from chaosd.target.launch import names

FORMS = catalogue().forms
ALL = {name: load(name, FORMS, targets=names()) for name in all_bundled()}
ORDINARY = [name for name in ALL if not in_lab(find(name))]


@pytest.mark.parametrize("name", ALL)
def test_every_experiment_says_what_it_is_about(name):
    experiment = ALL[name]
    assert experiment.name == name
    assert len(experiment.title) <= 60
    assert experiment.description
    assert experiment.tags


@pytest.mark.parametrize("name", ALL)
def test_every_experiment_can_be_judged(name):
    experiment = ALL[name]
    assert experiment.phases.baseline_ns * experiment.traffic.rate_hz >= 2_000 * SECOND
    assert experiment.expect.recovery.within_ns == 5 * SECOND
    assert not experiment.notes


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_experiments_run_the_reference_pipeline_and_know_no_failure(name):
    assert (ALL[name].target, ALL[name].known) == ("reference", None)


@pytest.mark.parametrize("name", ALL)
def test_what_an_outage_leaves_can_be_worked_off_by_a_pipeline_of_a_thousand_a_second(name):
    experiment = ALL[name]
    longest_s = max((step.for_ns for step in experiment.timeline if step.fault != "latency"), default=0) / SECOND
    rate_hz = experiment.traffic.rate_hz
    assert rate_hz * longest_s / (1_000 - rate_hz) < experiment.expect.recovery.within_ns / SECOND


def test_every_fault_is_used_by_an_experiment():
    assert {step.fault for experiment in ALL.values() for step in experiment.timeline} == set(FORMS)


def test_the_lab_is_listed_only_on_demand(capsys):
    assert run(["list"]) == 0
    short = capsys.readouterr().out
    assert run(["list", "--all"]) == 0
    whole = capsys.readouterr().out
    assert "redis-latency" in short
    assert "loses-events" in whole
    assert "loses-events " not in short


def test_a_pattern_lists_the_experiments_of_a_folder(capsys):
    assert run(["list", "faults/*", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == expand("faults/*")


def test_the_list_is_there_for_programs_too(capsys):
    assert run(["list", "--all", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in listed} == set(ALL)
    assert {one["name"] for one in listed if one["lab"]} == {"below-noise", "dlq-replay", "loses-events", "unused-part"}


@pytest.mark.parametrize("name", ["control", "everything-at-once", "loses-events"])
def test_a_plan_shows_phases_faults_and_what_is_expected(name, capsys):
    assert run(["plan", name]) == 0
    told = capsys.readouterr().out
    assert ALL[name].title in told
    assert all(f"{step.fault} at " in told for step in ALL[name].timeline)
    assert ("catch up" in told) == (name != "control")
    assert ("FAIL with LOST" in told) == (name == "loses-events")


def test_a_plan_is_there_for_programs_too(capsys):
    assert run(["plan", "redis-down", "--json", "--profile", "quick"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["timeline"][0]["id"] == "1-down-redis"
    assert told["planned"]["envelopes"] > 1000
    assert told["notes"]


@pytest.mark.parametrize(
    "arguments", [["plan", "redis-latncy"], ["schema", "verdct"], ["plan", "control", "--profile", "x"]]
)
def test_a_wrong_name_ends_in_a_usage_error(arguments, capsys):
    assert run(arguments) == 2
    assert "remedy" in capsys.readouterr().err
