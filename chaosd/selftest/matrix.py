"""Which target must end how in which experiment: experiments/selftest/mutants.yaml as values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from chaosd.experiment import document
from chaosd.experiment.parse import all_bundled
from chaosd.experiment.problems import one_error, validate
from chaosd.experiment.quantities import Form
from chaosd.experiment.written import Class
from chaosd.kernel.bundled import bundled
from chaosd.kernel.errors import SourceError, UsageError, nearest
from chaosd.kernel.verdict import Grade
from chaosd.target import launch
from chaosd.verification.reasons import EFFECTS

_FILE = "selftest/mutants.yaml"


@dataclass(frozen=True, slots=True)
class Case:
    """One target in one experiment. `must`: every one of them has to be found; `may`: those can be found as well.

    They are classes of anomaly of a FAIL, reasons of an INCONCLUSIVE; a PASS has none.
    """

    target: str
    experiment: str
    verdict: Grade
    must: tuple[str, ...] = ()
    may: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.target} on {self.experiment}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """`cases`: the right pipeline of every experiment first. `hash`: of the file."""

    reference: str
    cases: tuple[Case, ...]
    hash: str

    def of(self, names: Collection[str]) -> tuple[Case, ...]:
        """The cases of these targets, all for no name. Raises UsageError for a target without a case."""
        known = list(dict.fromkeys(case.target for case in self.cases))
        for name in names:
            if name not in known:
                near = nearest(name, known)
                hint = f"; did you mean {near!r}?" if near else ""
                raise UsageError(f"the selftest has no case for {name!r}{hint}", remedy=f"one of: {', '.join(known)}")
        return tuple(case for case in self.cases if not names or case.target in names)


class CaseForm(Form):
    """One line of the file. `right`: who must PASS the experiment if it is not the reference."""

    target: str
    experiment: str
    verdict: Literal["FAIL", "INCONCLUSIVE"] = "FAIL"
    must: tuple[str, ...] = Field(min_length=1)
    may: tuple[str, ...] = ()
    right: str | None = None


class MatrixForm(Form):
    """The file."""

    selftest: Literal[1]
    reference: str
    mutants: tuple[CaseForm, ...] = Field(min_length=1)


def load(path: Path | None = None) -> Matrix:
    """Read the matrix, by default the bundled one. Raises SourceError, one line per problem."""
    source = document.read(path or bundled("experiments") / _FILE)
    problems: list[SourceError] = []
    form = validate(source, MatrixForm, source.plain, (), problems)
    if form is not None:
        problems += _unknown_names(source, form)
    if form is None or problems:
        raise one_error(problems)
    right = dict.fromkeys((case.right or form.reference, case.experiment) for case in form.mutants)
    return Matrix(
        reference=form.reference,
        cases=(
            *(Case(target, experiment, Grade.PASS) for target, experiment in right),
            *(Case(one.target, one.experiment, Grade[one.verdict], one.must, one.may) for one in form.mutants),
        ),
        hash=sha256(repr(source.plain).encode()).hexdigest()[:16],
    )


def _unknown_names(source: document.Document, form: MatrixForm) -> list[SourceError]:
    targets, experiments = launch.names(), tuple(all_bundled())
    problems: list[SourceError] = []

    def check(what: str, name: str, place: document.Place, known: Sequence[str]) -> None:
        if name not in known:
            problems.append(source.unknown(f"there is no such {what}", place, name, known))

    check("target", form.reference, ("reference",), targets)
    for index, case in enumerate(form.mutants):
        place = ("mutants", index)
        check("target", case.target, (*place, "target"), targets)
        check("target", case.right or form.reference, (*place, "right"), targets)
        check("experiment", case.experiment, (*place, "experiment"), experiments)
        words = get_args(Class) if case.verdict == Grade.FAIL.name else tuple(EFFECTS)
        for key in ("must", "may"):
            for word in getattr(case, key):
                check("class" if case.verdict == Grade.FAIL.name else "reason", word, (*place, key), words)
    return problems
