"""How a run ended, with the judge's report where there is one, and how a test tells it."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass

from chaosd.conductor.follow import Ending
from chaosd.kernel.errors import ChaosdError
from chaosd.report import junit, model, terminal
from chaosd.report.judge import VERDICT
from chaosd.report.model import Report, Verifier


@dataclass(frozen=True, slots=True)
class Outcome:
    """`report` is None when the run has no verdict that can be read."""

    ending: Ending
    report: Report | None

    @classmethod
    def of(cls, ending: Ending) -> Outcome:
        """Read the verdict of a run that ended."""
        report = None
        path = ending.run_dir / VERDICT if ending.run_dir is not None else None
        if path is not None and path.is_file():
            try:
                report = model.decode(path.read_bytes(), str(path))
            except ChaosdError:
                report = None
        return cls(ending, report)

    def properties(self) -> dict[str, str]:
        """What a JUnit report should hold of it."""
        told = {"verdict": self.ending.verdict or "none", "run_dir": str(self.ending.run_dir or "")}
        if self.report is not None:
            told |= {"run_id": self.report.run_id, "seed": str(self.report.seed)}
            told |= {"reasons": " ".join(self.report.reasons), "command": self.report.setting.command}
        return told

    def verifier(self, name: str) -> Verifier | None:
        """What one verifier said."""
        verifiers = self.report.verifiers if self.report is not None else ()
        return next((one for one in verifiers if one.name == name), None)

    def run_reasons(self) -> bool:
        """Whether there are reasons that are no verifier's."""
        return self.report is None or bool(junit.of_the_run(self.report))

    def troubled(self, known: Collection[str]) -> bool:
        """Whether every verifier without a PASS is one of those known, and there is one."""
        names = [one.name for one in self.report.verifiers if one.verdict != "PASS"] if self.report else []
        return bool(names) and all(name in known for name in names)

    def wrongly_known(self) -> bool:
        """Whether a failure is documented, and this is another one."""
        return self.report is not None and self.report.known is not None and not self.report.known.matched

    def known(self) -> str:
        """The documented failure in words."""
        known = self.report.known if self.report is not None else None
        if known is None:
            return "known"
        return f"known: {known.verdict} {', '.join(known.classes)} {known.why}".rstrip()

    def summary(self) -> str:
        """Verdict, reasons and where the report is; for a run without a verdict what stopped it."""
        ending, lines = self.ending, []
        if self.report is not None and ending.run_dir is not None:
            out = io.StringIO()
            terminal.show(ending.run_dir, out)
            lines.append(out.getvalue().strip("\n"))
        elif ending.verdict:
            lines.append(f"{ending.verdict}: {', '.join(ending.reasons)}")
        if ending.error:
            lines.append(ending.error)
            if ending.remedy:
                lines.append(f"  remedy: {ending.remedy}")
        if ending.run_dir is not None:
            lines.append(f"run directory: {ending.run_dir}")
        lines.append(f"exit code {int(ending.exit)} ({ending.exit.name.lower()})")
        return "\n".join(filter(None, lines))

    def story(self, verifier: Verifier) -> str:
        """What one verifier has against the run: reasons, witnesses with their lifelines, how to repeat it."""
        if self.report is None:
            return self.summary()
        return terminal.verifier(self.report, verifier, self.ending.run_dir)

    def unanswered(self, verifier: str) -> str:
        """Why there is no answer to what a verifier was to tell."""
        word = self.ending.verdict or "no verdict"
        why = self.ending.error or ", ".join(self.ending.reasons)
        head = f"{verifier} was not answered: the run ended with {word}, exit code {int(self.ending.exit)}"
        return f"{head} ({self.ending.exit.name.lower()})\n{why}\n(the item `run` tells the whole)"
