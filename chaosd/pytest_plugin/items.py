"""An experiment as tests: `run` for what nobody else answers for, and one for each group of its expectations.

The run takes place once, for the first of them that asks; the others read what the judge said of theirs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest._code.code import ExceptionInfo, TerminalRepr

from chaosd.conductor import operator
from chaosd.experiment.parse import load
from chaosd.faults.table import forms
from chaosd.kernel.bundled import bundled
from chaosd.kernel.errors import ChaosdError, Exit
from chaosd.pytest_plugin.outcome import Outcome
from chaosd.pytest_plugin.sessions import bench_of

RUN = "run"
_OF_REPLAYS = "replays"
_JUDGED = (Exit.PASS, Exit.FAIL, Exit.INCONCLUSIVE)


class ChaosFailure(Exception):
    """What was expected did not hold. Its text is what the person reads."""


def groups(*, replay: bool) -> dict[str, str]:
    """The groups of expectations by the verifier that answers for each: `no_loss` for `loss`.

    `replay`: whether the experiment has dead letters sent back; there is a promise about replays only then.
    """
    verifiers = sorted(path.stem for path in bundled("verifiers").glob("*.py") if not path.stem.startswith("_"))
    return {name: name.removeprefix("no_") for name in verifiers if replay or name != _OF_REPLAYS}


class ChaosFile(pytest.File):
    """A `*.chaos.yaml` file, or one that --chaos-files names: one experiment."""

    def collect(self) -> Iterator[pytest.Collector]:
        """Read the experiment, so that a mistake in it is told before anything is broken."""
        profile = str(self.config.getoption("--chaos-profile"))
        try:
            experiment = load(str(self.path), forms(), profile=profile, limits=operator.read().limits)
        except ChaosdError as error:
            raise self.CollectError(str(error)) from None
        expected = groups(replay=experiment.replay is not None)
        yield ChaosExperiment.from_parent(self, name=experiment.name, groups=expected)


class ChaosExperiment(pytest.Collector):
    """One experiment, run once on the session's testbed."""

    def __init__(self, *, groups: dict[str, str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.groups = groups
        self._outcome: Outcome | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """The run, and each group of expectations."""
        yield RunItem.from_parent(self, name=RUN)
        for verifier, group in self.groups.items():
            yield GroupItem.from_parent(self, name=group, verifier=verifier)

    def outcome(self, item: pytest.Item) -> Outcome:
        """How it ended; the first item that asks has it run, and shows what happened meanwhile."""
        if self._outcome is None:
            told: list[str] = []
            try:
                ending = bench_of(self.config).run(self._file(), lambda event: tell(told, event), once=self.nodeid)
            finally:
                item.add_report_section("call", "chaosd", "\n".join(told))
            self._outcome = Outcome.of(ending)
        return self._outcome

    def _file(self) -> str:
        """As a person would name it where pytest was called: it is in the command that repeats the run."""
        here = self.config.invocation_params.dir
        return str(self.path.relative_to(here) if here == Path.cwd() and self.path.is_relative_to(here) else self.path)


class ChaosItem(pytest.Item):
    """What the items of an experiment have in common."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.add_marker("chaos")

    def runtest(self) -> None:
        """Have the experiment run, if it was not, and look at this item's part of what came out."""
        outcome = self.experiment.outcome(self)
        self.user_properties.extend((f"chaosd_{name}", value) for name, value in outcome.properties().items())
        self.check(outcome)

    @abstractmethod
    def check(self, outcome: Outcome) -> None:
        """Raise for what is not as it must be."""

    @property
    def experiment(self) -> ChaosExperiment:
        """The experiment that it belongs to."""
        if not isinstance(self.parent, ChaosExperiment):
            raise TypeError(f"{self.nodeid} stands under {self.parent!r}")
        return self.parent

    def inconclusive(self, reasons: str, story: str, outcome: Outcome) -> None:
        """Skip or fail, as the options say. Raises one of both."""
        if self.config.getoption("--chaos-inconclusive") == "skip":
            text = f"INCONCLUSIVE: {reasons} (run directory {outcome.ending.run_dir})"
            raise pytest.skip.Exception(text, _use_item_location=True)
        raise ChaosFailure(story)

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """What went wrong in the run, without a traceback through chaosd."""
        if isinstance(excinfo.value, ChaosFailure | ChaosdError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands, and what it is called."""
        return self.path, 0, f"chaos experiment {self.experiment.name}: {self.name}"


class RunItem(ChaosItem):
    """The run itself: it took place, was healed and judged, and nothing of it puts every answer in doubt.

    Passes with exit code 0, and where the only trouble is one that an item of this experiment shows.
    """

    def check(self, outcome: Outcome) -> None:
        """Raises ChaosFailure; skips when the run is INCONCLUSIVE and the options say so."""
        code = outcome.ending.exit
        if code is Exit.PASS:
            return
        shown = code in _JUDGED and not outcome.run_reasons() and outcome.troubled(self.experiment.groups)
        if shown and not outcome.wrongly_known():
            return
        if code is Exit.INCONCLUSIVE:
            self.inconclusive(", ".join(outcome.ending.reasons), outcome.summary(), outcome)
        raise ChaosFailure(outcome.summary())


class GroupItem(ChaosItem):
    """One group of expectations: what its verifier said."""

    def __init__(self, *, verifier: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._verifier = verifier

    def check(self, outcome: Outcome) -> None:
        """Raises ChaosFailure; xfails where the failure is a documented one."""
        told = outcome.verifier(self._verifier)
        self.user_properties.append(("chaosd_expectation", told.verdict if told else "none"))
        if told is None or outcome.ending.exit not in _JUDGED:
            raise ChaosFailure(outcome.unanswered(self._verifier))
        if told.verdict == "PASS":
            return
        if outcome.ending.exit is Exit.PASS:
            pytest.xfail(outcome.known())
        story = outcome.story(told)
        if told.verdict == "INCONCLUSIVE":
            self.inconclusive(", ".join(told.reasons), story, outcome)
        raise ChaosFailure(story)


def tell(told: list[str], event: dict[str, Any]) -> None:
    """Add what a person wants to read of an event of the conductor."""
    match event["event"]:
        case "run":
            told.append(f"run {event['run_id']} in {event['run_dir']}")
        case "phase":
            told.append(f"-- {event['name']}: {event['text']}")
        case "fault":
            told.append(f"!! {event['fault']} on {event['on']} {event['state']} {event['text']}".rstrip())
        case "note":
            told.append(f"   {event['text']}")
