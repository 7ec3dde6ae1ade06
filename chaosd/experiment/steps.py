"""Reads the timeline of an experiment file: each line becomes its steps, with what is wrong told at its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chaosd.experiment.document import Document, Place
from chaosd.experiment.limits import DEFAULT, Limits, excesses
from chaosd.experiment.overlays import problem
from chaosd.experiment.problems import validate
from chaosd.experiment.spec import FaultForm, Traffic
from chaosd.experiment.target import TARGET, Pipeline
from chaosd.experiment.timeline import Placed, Step, clashes
from chaosd.experiment.windows import LONGEST_NS, TIMES_MAX, Repeated, Span, occurrences
from chaosd.experiment.written import StepForm
from chaosd.kernel import names
from chaosd.kernel.errors import SourceError
from chaosd.kernel.units import format_duration

# Faults whose undo is a start may come straight after their end: down for no longer than that takes.
_STARTS = ("restart", "kill")
_BESIDE = ("at", "for", "repeat", "on", "replica")
_SERVICE = f"{TARGET}."


@dataclass(slots=True)
class Timeline:
    """Reads the steps; adds to `problems` whatever is wrong with them. `seed` decides what is left to chance."""

    source: Document
    catalogue: Mapping[str, FaultForm]
    problems: list[SourceError]
    seed: int = 0
    brokers: int = 1
    replicas: int = 1
    pipeline: Pipeline | None = None
    limits: Limits = DEFAULT
    placed: list[Placed] = field(default_factory=list)

    def read(self) -> tuple[Step, ...]:
        """The steps in order of time, each with its id. What is no step at all was told with the whole file."""
        raw = self.source.plain.get("timeline")
        for line, text in enumerate(raw if isinstance(raw, list) else ()):
            # The problems of its common keys are told with the whole file's.
            form = validate(self.source, StepForm, text, ("timeline", line), [])
            if form is not None:
                self._line(form, line)
        for clash in clashes(self.placed):
            self._wrong(clash.problem, ("timeline", clash.line), clash.expected)
        for excess in excesses(self.placed, self.limits, self.brokers):
            error = self.source.error(excess.problem, ("timeline", excess.line), expected=excess.expected)
            error.remedy = excess.remedy
            self.problems.append(error)
        steps = sorted((placed.step for placed in self.placed), key=lambda step: step.at_ns)
        return tuple(replace(step, id=f"{n}-{step.fault}-{names.plain(step.on)}") for n, step in enumerate(steps, 1))

    def check_overlays(self, traffic: Traffic) -> None:
        """Add what cannot be laid over this traffic, once for each line."""
        for line, step in {placed.line: placed.step for placed in self.placed}.items():
            if (found := problem(step, traffic)) is not None:
                self._wrong(found[0], ("timeline", line), found[1])

    def _wrong(self, problem: str, where: Place, expected: str) -> None:
        self.problems.append(self.source.error(problem, where, expected=expected))

    def _line(self, form: StepForm, line: int) -> None:
        where = ("timeline", line)
        fault = self.catalogue.get(form.fault)
        if fault is None:
            error = self.source.unknown("there is no such fault", (*where, "fault"), form.fault, self.catalogue)
            self.problems.append(error)
            return
        on = self._on(form, fault, where)
        lasts, repeated = self._lasts(form, where), self._repeated(form, where)
        params = validate(self.source, fault.params, form.params, where, self.problems, beside=_BESIDE)
        if params is None or on is None or lasts is None:
            return
        step = Step("", 0, 0, fault.name, on, fault.needs, params, fault.claims, keeps_out=fault.keeps_out)
        self._place(form, line, step, lasts, repeated)

    def _on(self, form: StepForm, fault: FaultForm, where: Place) -> str | None:
        """What the step is on, by the name of the thing; None when it cannot be."""
        known = fault.things(self.brokers)
        if not form.on:
            if len(known) == 1:
                return known[0]
            self._wrong("the key 'on' is missing", where, "on: one of " + ", ".join(known))
            return None
        if form.on.startswith(_SERVICE) and TARGET in known:
            return self._service(form, where)
        if form.on not in known:
            error = self.source.unknown(f"{form.fault} cannot be done to this", (*where, "on"), form.on, known)
            self.problems.append(error)
            return None
        if form.replica is None:
            return form.on
        if form.on != TARGET:
            self.problems.append(
                self.source.error(f"{form.on} has no replicas", (*where, "replica"), expected=f"`on: {TARGET}`")
            )
            return None
        if self.pipeline is not None:
            processes = tuple(name for name, *_ in self.pipeline.processes)
        else:
            processes = names.numbered(TARGET, range(self.replicas)) if self.replicas > 1 else (TARGET,)
        return self._one(form, where, "the target", processes)

    def _service(self, form: StepForm, where: Place) -> str | None:
        """The name of the processes of one service of a target file, or of one of its replicas."""
        services = [one.name for one in self.pipeline.services] if self.pipeline is not None else []
        name = form.on.removeprefix(_SERVICE)
        if self.pipeline is None or name not in services:
            known = [TARGET, *(f"{_SERVICE}{one}" for one in services)]
            self.problems.append(self.source.unknown("the target has no such service", (*where, "on"), form.on, known))
            return None
        whole = self.pipeline.on(name)
        if form.replica is None:
            return whole
        return self._one(form, where, name, names.members((one for one, *_ in self.pipeline.processes), whole))

    def _one(self, form: StepForm, where: Place, of: str, processes: tuple[str, ...]) -> str | None:
        """The name of one replica of several processes; None, and a problem, when there are not so many."""
        number, last = form.replica or 0, len(processes) - 1
        if number <= last:
            return processes[number]
        said = "target file" if self.pipeline is not None else "key `replicas` of the experiment"
        problem = f"{of} has {last + 1} replica{'s' * (last != 0)}"
        expected = f"{f'0 to {last}' if last else '0'}; the {said} says how many there are"
        self.problems.append(self.source.error(problem, (*where, "replica"), expected=expected, found=str(number)))
        return None

    def _lasts(self, form: StepForm, where: Place) -> Span | None:
        if form.for_ is None:
            if form.fault in _STARTS:
                return Span(0, 0)
            self._wrong("`for` is missing", where, "how long the fault is in force")
            return None
        if form.for_.low_ns == 0 and form.fault not in _STARTS:
            self._wrong("nothing would happen", (*where, "for"), "a duration above 0s")
        return form.for_

    def _repeated(self, form: StepForm, where: Place) -> Repeated | None:
        repeat = form.repeat
        if repeat is None:
            return None
        if (repeat.times is None) is (repeat.until is None):
            problem = "how often is not said" if repeat.times is None else "how often is said twice"
            self._wrong(problem, (*where, "repeat"), "either `times` or `until` beside `every`")
        shortest = form.for_.high_ns if form.for_ is not None else 0
        if repeat.every.low_ns <= shortest:
            self._wrong(
                "the next one would begin before the one before it has ended",
                (*where, "repeat", "every"),
                f"more than {format_duration(shortest)}, which is how long it is in force",
            )
        return Repeated(repeat.every, repeat.times, repeat.until)

    def _place(self, form: StepForm, line: int, step: Step, lasts: Span, repeated: Repeated | None) -> None:
        spans = {"at": form.at, "for": form.for_, "every": form.repeat.every if form.repeat else None}
        drawn = tuple(key for key, span in spans.items() if span is not None and span.drawn)
        found = list(occurrences(line, form.at, lasts, repeated, self.seed))
        if repeated is not None and repeated.until_ns is not None and len(found) == TIMES_MAX:
            self._wrong("too often", ("timeline", line, "repeat", "until"), f"at most {TIMES_MAX} times")
        if found[-1].latest_ns > LONGEST_NS:
            self._wrong("too late", ("timeline", line), f"an end before {format_duration(LONGEST_NS)}")
        for when in found:
            made = replace(step, at_ns=when.at_ns, for_ns=when.for_ns, drawn=drawn)
            self.placed.append(Placed(made, line, when))
