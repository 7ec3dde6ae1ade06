"""What a selftest has found so far, in a file: written after every run, so that it can be gone on with."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

import chaosd
from chaosd.kernel.errors import JournalError, UsageError
from chaosd.selftest.matrix import Case, Matrix
from chaosd.selftest.outcome import Attempt, Outcome, again, weigh

FORMAT = 1


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One case and its attempts. `outcome` is that of the last one, empty without any."""

    target: str
    experiment: str
    expected: str
    must: tuple[str, ...]
    may: tuple[str, ...]
    attempts: tuple[Attempt, ...] = ()
    outcome: str = ""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """`seed` and `profile` hold for all lines; `matrix` is the hash of what was to be run."""

    format: int = FORMAT
    chaosd: str
    matrix: str
    profile: str
    seed: int
    lines: tuple[Line, ...] = ()


class Store:
    """The results of one selftest, on disk."""

    def __init__(self, path: Path, results: Results) -> None:
        self.path = path
        self.results = results
        self._attempts = {(line.target, line.experiment): line.attempts for line in results.lines}

    @classmethod
    def new(cls, path: Path, matrix: Matrix, profile: str, seed: int) -> Store:
        """An empty one."""
        return cls(path, Results(chaosd=chaosd.__version__, matrix=matrix.hash, profile=profile, seed=seed))

    @classmethod
    def resume(cls, path: Path, matrix: Matrix) -> Store:
        """One that was begun earlier. Raises UsageError when it is about another matrix, or is none."""
        try:
            results = msgspec.json.decode(path.read_bytes(), type=Results)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise UsageError(f"{path} holds no results of a selftest: {error}") from error
        if results.matrix != matrix.hash:
            raise UsageError(
                f"{path} is about another matrix of mutants than this chaosd has",
                remedy="begin anew, without --resume",
            )
        return cls(path, results)

    def tried(self, case: Case) -> tuple[Attempt, ...]:
        """All that was tried of a case."""
        return self._attempts.get((case.target, case.experiment), ())

    def attempts(self, case: Case) -> tuple[Attempt, ...]:
        """What was tried and came to a verdict. What did not is done again, when the selftest is gone on with."""
        return tuple(one for one in self.tried(case) if one.verdict)

    def outcome(self, case: Case) -> Outcome | None:
        """What a case has come to, None when it has not been tried."""
        tried = self.tried(case)
        return weigh(case, tried[-1]) if tried else None

    def open(self, case: Case) -> bool:
        """Whether a case is still to be tried."""
        return again(case, self.attempts(case))

    def add(self, case: Case, attempt: Attempt) -> None:
        """Take in an attempt, and write the file. Raises JournalError when that cannot be."""
        attempts = (*self.tried(case), attempt)
        self._attempts[case.target, case.experiment] = attempts
        line = Line(
            target=case.target,
            experiment=case.experiment,
            expected=case.verdict.name,
            must=case.must,
            may=case.may,
            attempts=attempts,
            outcome=str(weigh(case, attempt)),
        )
        place = (case.target, case.experiment)
        others = tuple(one for one in self.results.lines if (one.target, one.experiment) != place)
        self.results = msgspec.structs.replace(self.results, lines=(*others, line))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_suffix(".part")
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(self.results), indent=1) + b"\n")
            os.replace(beside, self.path)  # noqa: PTH105 - atomic, and named as such
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written: {error.strerror}") from error
