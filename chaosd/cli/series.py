"""Keeps a series of runs in a file while it goes on, and tells at its end what it shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from chaosd.kernel.errors import Exit, UsageError
from chaosd.report import model, series
from chaosd.report.series import Plan, Series

# Such a run has no say: it is made again when the series goes on.
_NO_SAY = (Exit.ABORTED, Exit.UNHEALED, Exit.USAGE, Exit.PREFLIGHT)


class Kept:
    """A series and its file. Opening one goes on where it stands; every run is on disk before the next begins."""

    def __init__(self, path: Path, plan: Plan) -> None:
        """Raises UsageError for a file of another plan, or one that cannot be read."""
        self._path = path
        self.series = Series(plan=plan)
        if path.is_file():
            self.series = series.decode(path.read_bytes(), str(path))
            if self.series.plan != plan:
                differs = [
                    name for name in Plan.__struct_fields__ if getattr(self.series.plan, name) != getattr(plan, name)
                ]
                raise UsageError(
                    f"{path} is a series of another plan: {', '.join(differs)} differ",
                    remedy="repeat its own command to go on with it, or name another file with --series",
                )

    def add(self, experiment: str, repetition: int, code: Exit, report: str) -> None:
        """Take in a run that has ended; `report` is the path of its report, empty without one."""
        verdict = Path(report).parent / "verdict.json"
        if code in _NO_SAY or not report or not verdict.is_file():
            return
        run = series.told(experiment, repetition, model.decode(verdict.read_bytes(), str(verdict)))
        self.series = self.series.add(run)
        self._write()

    def _write(self) -> None:
        half = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(series.encode(self.series))
            half.replace(self._path)
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written: {error.strerror}", remedy="another --series") from error

    def tell(self, out: TextIO) -> None:
        """Verdicts and claims, one line each."""
        runs = self.series.runs
        print(file=out)
        for name in self.series.plan.experiments:
            mine = [run.verdict for run in runs if run.experiment == name]
            words = ", ".join(f"{mine.count(word)} {word}" for word in dict.fromkeys(sorted(mine)))
            print(f"  {name}: {len(mine)} runs, {words or 'none judged'}", file=out)
            for claim in self.series.claims:
                if claim.experiment == name:
                    print(f"    {series.sentence(claim)}", file=out)
        print(f"  series  {self._path}", file=out)
