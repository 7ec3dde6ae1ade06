"""`chaos_run`: an experiment carried out inside a test, for those who want to look at what came out themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaosd.kernel.errors import Exit, UsageError
from chaosd.pytest_plugin.bench import Bench
from chaosd.pytest_plugin.items import ChaosFailure
from chaosd.pytest_plugin.outcome import Outcome
from chaosd.report.model import Report

__tracebackhide__ = True  # pytest leaves frames of this module out of its tracebacks


@dataclass(frozen=True, slots=True)
class ChaosRun:
    """A run that was judged. `report` is verdict.json as values; `verdict` is PASS, FAIL or INCONCLUSIVE."""

    verdict: str
    reasons: tuple[str, ...]
    exit: Exit
    run_dir: Path
    report: Report
    story: str

    def __str__(self) -> str:
        return self.story


class Runner:
    """Runs experiments on the session's testbed: by name, by path, or written out in the test."""

    def __init__(self, bench: Bench, folder: Path, inconclusive: str, told: Callable[[dict[str, Any]], None]) -> None:
        self._bench = bench
        self._folder = folder
        self._inconclusive = inconclusive
        self._told = told

    def __call__(self, experiment: str | Path, *, seed: int | None = None, check: bool = True) -> ChaosRun:
        """Run it and give what the judge said.

        With `check` an exit code that is not 0 fails the test with the story of the run (an INCONCLUSIVE one skips it
        where the options say so). A run without a verdict always does.
        """
        outcome = Outcome.of(self._bench.run(self._file(experiment), self._told, seed=seed))
        ending, report = outcome.ending, outcome.report
        if report is None or ending.run_dir is None:
            raise ChaosFailure(outcome.summary())
        if check and ending.exit is Exit.INCONCLUSIVE and self._inconclusive == "skip":
            pytest.skip(f"INCONCLUSIVE: {', '.join(ending.reasons)} (run directory {ending.run_dir})")
        if check and ending.exit is not Exit.PASS:
            raise ChaosFailure(outcome.summary())
        return ChaosRun(ending.verdict, ending.reasons, ending.exit, ending.run_dir, report, outcome.summary())

    def _file(self, experiment: str | Path) -> str:
        text = str(experiment)
        if "\n" not in text:
            return text
        for number in range(1000):
            path = self._folder / f"written-{number}.chaos.yaml"
            if not path.exists():
                path.write_text(text, encoding="utf-8")
                return str(path)
        raise UsageError("a test runs more than a thousand experiments")
