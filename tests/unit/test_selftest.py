"""The trial of the judge: its matrix covers every mutant, and verdicts are weighed against what is known."""

from __future__ import annotations

import json
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chaosd.cli import app
from chaosd.experiment.parse import all_bundled, in_lab, load
from chaosd.faults.table import forms
from chaosd.kernel.bundled import bundled
from chaosd.kernel.errors import RunAborted, SourceError, UsageError
from chaosd.kernel.verdict import Grade
from chaosd.selftest import matrix as matrices
from chaosd.selftest import session as sessions
from chaosd.selftest.matrix import Case
from chaosd.selftest.outcome import ATTEMPTS_MAX, Attempt, Outcome, again, weigh
from chaosd.selftest.results import Store
from chaosd.selftest.session import seed_of
from chaosd.target import mutants
from chaosd.target.launch import names
from chaosd.target.table import TARGETS

MATRIX = matrices.load()
LOSES = Case("auto_commit", "target-kill", Grade.FAIL, ("LOST",), ("MISSING-ERROR",))
RIGHT = Case("reference", "target-kill", Grade.PASS)
UNUSED = Case("without_postgres", "postgres-latency", Grade.INCONCLUSIVE, ("not_exposed",))


def attempt(verdict: str, *classes: str, reasons: tuple[str, ...] = (), seed: int = 1) -> Attempt:
    return Attempt(run_id="r", seed=seed, verdict=verdict, classes=classes, reasons=reasons)


def test_every_mutant_is_tried():
    tried = {case.target for case in MATRIX.cases} - {MATRIX.reference}
    assert tried == {target.name for target in TARGETS} - {MATRIX.reference}


def test_the_right_pipeline_is_tried_in_every_experiment_of_a_mutant():
    right = [case for case in MATRIX.cases if case.verdict is Grade.PASS]
    broken = [case for case in MATRIX.cases if case.verdict is not Grade.PASS]
    assert [case.experiment for case in right] == list(dict.fromkeys(case.experiment for case in broken))
    assert MATRIX.reference not in {case.target for case in broken}
    assert all(case.must for case in broken)


def test_the_right_pipeline_of_an_experiment_is_the_one_it_is_written_for():
    for case in MATRIX.cases:
        if case.verdict is Grade.PASS:
            assert load(case.experiment, forms(), targets=names()).target == case.target


def test_mutants_are_tried_in_ordinary_experiments_unless_these_show_the_reference_nothing():
    lab = {case.experiment for case in MATRIX.cases if in_lab(all_bundled()[case.experiment])}
    passing = {case.experiment for case in MATRIX.cases if case.target == MATRIX.reference}
    assert lab.isdisjoint(passing)


def test_every_mutant_has_its_line_and_its_sentence():
    modules = {path.stem for path in Path(mutants.__path__[0]).glob("*.py")} - {"__init__"}
    assert [target.name for target in TARGETS[1:]] == sorted(modules)
    for target in TARGETS:
        assert 10 < len(target.about) <= 90, target.name
        assert not target.about.endswith("."), target.name


def test_targets_are_listed_with_their_sentences(capsys):
    assert app.run(["list", "--targets"]) == 0
    told = capsys.readouterr().out
    assert all(target.name in told and target.about in told for target in TARGETS)
    assert app.run(["list", "--targets", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == [target.name for target in TARGETS]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("target: wrong_key", "target: wrong_kee"), "did you mean 'wrong_key'"),
        (("right: dead_letters_transient", "right: dead_letter_transient"), "did you mean 'dead_letters_transient'"),
        (("experiment: redis-down", "experiment: redis-dawn"), "did you mean 'redis-down'"),
        (("[MISROUTED]", "[MISROUTD]"), "did you mean 'MISROUTED'"),
        (("[not_exposed]", "[not_expsed]"), "did you mean 'not_exposed'"),
    ],
)
def test_a_mistake_in_the_matrix_is_told_with_its_line(change, said, tmp_path):
    file = tmp_path / "mutants.yaml"
    text = (bundled("experiments") / "selftest/mutants.yaml").read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    with pytest.raises(SourceError, match=said) as caught:
        matrices.load(file)
    assert f"{file}:" in caught.value.message


def test_only_some_targets_can_be_asked_for():
    assert {case.target for case in MATRIX.of(["set_nx", "reorders"])} == {"set_nx", "reorders"}
    assert MATRIX.of([]) == MATRIX.cases
    with pytest.raises(UsageError, match="did you mean 'set_nx'"):
        MATRIX.of(["setnx"])


@pytest.mark.parametrize(
    ("case", "last", "outcome"),
    [
        (LOSES, attempt("FAIL", "LOST"), Outcome.RIGHT),
        (LOSES, attempt("FAIL", "LOST", "MISSING-ERROR"), Outcome.RIGHT),
        (LOSES, attempt("FAIL", "MISSING-ERROR"), Outcome.MISSED),
        (LOSES, attempt("FAIL", "LOST", "CORRUPT"), Outcome.ACCUSED),
        (LOSES, attempt("PASS"), Outcome.MISSED),
        (LOSES, attempt("INCONCLUSIVE", reasons=("no_bite:x",)), Outcome.UNDECIDED),
        (LOSES, attempt(""), Outcome.BROKEN),
        (RIGHT, attempt("PASS"), Outcome.RIGHT),
        (RIGHT, attempt("FAIL", "LOST"), Outcome.ACCUSED),
        (RIGHT, attempt("INCONCLUSIVE", reasons=("recovery:too_short",)), Outcome.UNDECIDED),
        (UNUSED, attempt("INCONCLUSIVE", reasons=("not_exposed:1-latency-postgres",)), Outcome.RIGHT),
        (UNUSED, attempt("INCONCLUSIVE", reasons=("no_bite:1-latency-postgres",)), Outcome.UNDECIDED),
        (UNUSED, attempt("PASS"), Outcome.MISSED),
        (UNUSED, attempt("FAIL", "LOST"), Outcome.ACCUSED),
    ],
)
def test_a_verdict_is_weighed_against_what_is_known(case, last, outcome):
    assert weigh(case, last) is outcome


def test_only_what_the_environment_left_undecided_is_tried_again():
    undecided = attempt("INCONCLUSIVE", reasons=("recovery:judge_stalled",))
    assert again(RIGHT, [])
    assert again(RIGHT, [undecided] * (ATTEMPTS_MAX - 1))
    assert not again(RIGHT, [undecided] * ATTEMPTS_MAX)
    assert again(UNUSED, [attempt("INCONCLUSIVE", reasons=("not_exposed:x", "no_bite:x"))])
    assert again(RIGHT, [attempt("INCONCLUSIVE", reasons=("recovery:part_slow:kafka",))])
    for decided in (
        attempt("FAIL", "LOST"),
        attempt("PASS"),
        attempt("INCONCLUSIVE", reasons=("recovery:judge_stalled", "no_loss:UNSEEN")),
        attempt("INCONCLUSIVE", reasons=("recovery:part_slow:kafka", "recovery:not_healed:kafka")),
        attempt("INCONCLUSIVE", reasons=("not_exposed:x",)),
    ):
        assert not again(RIGHT, [decided])


def test_every_attempt_has_a_seed_of_its_own_and_the_same_again():
    seeds = {seed_of(7, case, number) for case in MATRIX.cases for number in range(ATTEMPTS_MAX)}
    assert len(seeds) == len(MATRIX.cases) * ATTEMPTS_MAX
    assert seed_of(7, LOSES, 1) == seed_of(7, LOSES, 1) != seed_of(8, LOSES, 1)


def test_results_are_gone_on_with(tmp_path):
    store = Store.new(tmp_path / "runs" / "results.json", MATRIX, "quick", 7)
    store.add(LOSES, attempt("FAIL", "LOST"))
    store.add(RIGHT, attempt(""))
    again_ = Store.resume(store.path, MATRIX)
    assert again_.results == store.results
    assert (again_.open(LOSES), again_.outcome(LOSES)) == (False, Outcome.RIGHT)
    assert (again_.open(RIGHT), again_.outcome(RIGHT)) == (True, Outcome.BROKEN)
    assert again_.open(UNUSED)


def test_results_about_something_else_are_refused(tmp_path):
    store = Store.new(tmp_path / "results.json", MATRIX, "quick", 7)
    store.add(LOSES, attempt("FAIL", "LOST"))
    other = tmp_path / "other.json"
    shutil.copy(store.path, other)
    other.write_text(other.read_text().replace(MATRIX.hash, "0" * 16))
    for file, said in ((other, "another matrix"), (tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(UsageError, match=said):
            Store.resume(file, MATRIX)
    other.write_text("{}")
    with pytest.raises(UsageError, match="no results"):
        Store.resume(other, MATRIX)


class FakeSession:
    """Stands for the real parts: gives the verdicts of a script, by the name of the case."""

    def __init__(self, script: dict[str, list[Attempt]]) -> None:
        self.script = script

    async def run(self, case: Case, seed: int, on_event) -> Attempt:
        if not self.script[case.name]:
            raise RunAborted("interrupted")
        return self.script[case.name].pop(0)

    async def stop(self) -> None:
        raise AssertionError


def trial(monkeypatch, tmp_path, script: dict[str, list[Attempt]], *more: str) -> int:
    @asynccontextmanager
    async def fake(runs_dir, profile):
        yield FakeSession(script)

    monkeypatch.setattr(sessions, "session", fake)
    only = [word for name in dict.fromkeys(name.partition(" ")[0] for name in script) for word in ("--only", name)]
    return app.run(["selftest", *only, "--seed", "7", "--runs-dir", str(tmp_path), *more])


@pytest.mark.parametrize(
    ("last", "code", "word"),
    [
        (attempt("FAIL", "MISROUTED"), 0, "1 of 1 mutants found"),
        (attempt("PASS"), 1, "missed"),
        (attempt("FAIL", "CORRUPT", "MISROUTED"), 1, "accused"),
        (attempt("INCONCLUSIVE", reasons=("drain_not_proved",)), 3, "undecided"),
        (attempt(""), 3, "no verdict"),
    ],
)
def test_the_exit_code_says_whether_the_judge_was_right(last, code, word, monkeypatch, tmp_path, capsys):
    assert trial(monkeypatch, tmp_path, {"wrong_key on control": [last]}) == code
    assert word in capsys.readouterr().out


def test_all_attempts_are_shown(monkeypatch, tmp_path, capsys):
    tries = [attempt("INCONCLUSIVE", reasons=("recovery:judge_stalled",)), attempt("FAIL", "MISROUTED")]
    assert trial(monkeypatch, tmp_path, {"wrong_key on control": tries}) == 0
    told = capsys.readouterr().out
    assert "INCONCLUSIVE recovery:judge_stalled; FAIL MISROUTED" in told


def test_an_interrupted_trial_goes_on_where_it_was(monkeypatch, tmp_path, capsys):
    script = {"reorders on control": [attempt("FAIL", "REORDERED")], "wrong_key on control": []}
    assert trial(monkeypatch, tmp_path, script) == 5
    [file] = tmp_path.glob("*.json")
    assert f"--resume {file}" in capsys.readouterr().err
    script = {"reorders on control": [], "wrong_key on control": [attempt("FAIL", "MISROUTED")]}
    assert trial(monkeypatch, tmp_path, script, "--resume", str(file)) == 0
    assert "2 of 2 mutants" in capsys.readouterr().out
