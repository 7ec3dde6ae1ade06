"""An experiment as a test: passes with exit code 0 (known failures included), fails with the summary of its run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from _pytest._code.code import ExceptionInfo, TerminalRepr

from chaosd.conductor.follow import Ending
from chaosd.experiment.parse import load
from chaosd.faults.table import forms
from chaosd.kernel.errors import ChaosdError, Exit
from chaosd.pytest_plugin.sessions import bench_of
from chaosd.report import terminal


class ChaosFailure(Exception):
    """The run did not pass. Its text is what the person reads."""


class ChaosFile(pytest.File):
    """A `*.chaos.yaml` file: one experiment, one test."""

    def collect(self) -> Iterator[pytest.Item]:
        """Read the experiment, so that a mistake in it is told before anything is broken."""
        profile = str(self.config.getoption("--chaos-profile"))
        try:
            experiment = load(str(self.path), forms(), profile=profile)
        except ChaosdError as error:
            raise self.CollectError(str(error)) from None
        yield ChaosItem.from_parent(self, name=experiment.name)


class ChaosItem(pytest.Item):
    """One experiment, run on the session's testbed."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.add_marker("chaos")
        self._told: list[str] = []

    def runtest(self) -> None:
        """Run and judge it. Raises ChaosFailure; skips instead when it is INCONCLUSIVE and the options say so."""
        try:
            ending = bench_of(self.config).run(self.path, self._on_event)
        except ChaosdError as error:
            raise ChaosFailure(str(error)) from None
        finally:
            self.add_report_section("call", "chaosd", "\n".join(self._told))
        self.user_properties.append(("chaosd_verdict", ending.verdict or "none"))
        self.user_properties.append(("chaosd_run_dir", str(ending.run_dir or "")))
        if ending.exit is Exit.PASS:
            return
        if ending.exit is Exit.INCONCLUSIVE and self.config.getoption("--chaos-inconclusive") == "skip":
            text = f"INCONCLUSIVE: {', '.join(ending.reasons)} (run directory {ending.run_dir})"
            raise pytest.skip.Exception(text, _use_item_location=True)
        raise ChaosFailure(_summary(ending))

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """What went wrong in the run, without a traceback through chaosd."""
        if isinstance(excinfo.value, ChaosFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands, and what it is called."""
        return self.path, 0, f"chaos experiment {self.name}"

    def _on_event(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "run":
                self._told.append(f"run {event['run_id']} in {event['run_dir']}")
            case "phase":
                self._told.append(f"-- {event['name']}: {event['text']}")
            case "fault":
                self._told.append(f"!! {event['fault']} on {event['on']} {event['state']} {event['text']}".rstrip())
            case "note":
                self._told.append(f"   {event['text']}")


def _summary(ending: Ending) -> str:
    """Verdict, reasons and where the report is; for a run without a verdict what stopped it."""
    lines = []
    if ending.verdict and ending.run_dir is not None:
        out = io.StringIO()
        try:
            terminal.show(ending.run_dir, out)
        except ChaosdError as error:
            lines += [f"{ending.verdict}: {', '.join(ending.reasons)}", str(error)]
        lines.append(out.getvalue().strip())
    if ending.error:
        lines.append(ending.error)
        if ending.remedy:
            lines.append(f"  remedy: {ending.remedy}")
    if ending.run_dir is not None:
        lines.append(f"run directory: {ending.run_dir}")
    lines.append(f"exit code {int(ending.exit)} ({ending.exit.name.lower()})")
    return "\n".join(filter(None, lines))
