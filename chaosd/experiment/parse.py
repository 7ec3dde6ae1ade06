"""Reads an experiment file: YAML 1.2 with positions → forms → values. All problems of a file are told at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from chaosd.experiment import document
from chaosd.experiment.document import Document, Place
from chaosd.experiment.limits import DEFAULT, Limits, excesses
from chaosd.experiment.problems import one_error, validate
from chaosd.experiment.profiles import resolve_phases
from chaosd.experiment.spec import PROFILES, Experiment, FaultForm
from chaosd.experiment.timeline import Step, clashes
from chaosd.experiment.written import BROKERS_MAX, REPLICAS_MAX, ExperimentForm, StepForm
from chaosd.kernel import names
from chaosd.kernel.bundled import bundled
from chaosd.kernel.errors import SourceError, UsageError, nearest

SUFFIX = ".yaml"
LAB = "lab"
_FOLDERS = ("", "faults", LAB)
_TARGET = "target"
# Faults whose undo is a start may come straight after their end: down for no longer than that takes.
_STARTS = ("restart", "kill")


def load(
    given: str,
    catalogue: Mapping[str, FaultForm],
    *,
    profile: str = "standard",
    targets: Collection[str] = (),
    limits: Limits = DEFAULT,
) -> Experiment:
    """Read an experiment by path or by the name of a bundled one. `targets`: the names there are; empty: any will do.

    `limits` are the operator's; the experiment may tighten them.

    Raises UsageError when there is none, SourceError (one line per problem) when the file is not as it must be.
    """
    if profile not in PROFILES:
        near = nearest(profile, PROFILES)
        remedy = f"did you mean {near!r}?" if near else f"one of: {', '.join(PROFILES)}"
        raise UsageError(f"there is no profile {profile!r}", remedy=remedy)
    path = find(given)
    return resolve(document.read(path), catalogue, name=name_of(path), profile=profile, targets=targets, limits=limits)


def resolve(
    source: Document,
    catalogue: Mapping[str, FaultForm],
    *,
    name: str,
    profile: str = "standard",
    targets: Collection[str] = (),
    limits: Limits = DEFAULT,
) -> Experiment:
    """Make an experiment of a document. Raises SourceError with all its problems."""
    problems: list[SourceError] = []
    form = validate(source, ExperimentForm, source.plain, (), problems)
    # Of a file that is not as it must be, nobody knows how many of a thing there are: any number will do.
    brokers, replicas = (form.stack.kafka.brokers, form.replicas) if form else (BROKERS_MAX, REPLICAS_MAX)
    limits = limits.tightened(form.limits) if form else limits
    steps = _Timeline(source, catalogue, problems, brokers, replicas, limits).read()
    if form is not None and targets and form.target not in targets:
        problems.append(source.unknown("there is no such target", ("target",), form.target, targets))
    if form is None or problems:
        raise one_error(problems)
    traffic = form.traffic.resolve()
    phases, notes = resolve_phases(form.phases, traffic, profile)
    return Experiment(
        name=name,
        title=form.title,
        description=" ".join(form.description.split()),
        tags=form.tags,
        target=form.target,
        profile=profile,
        traffic=traffic,
        phases=phases,
        timeline=steps,
        expect=form.expect.resolve(),
        known=form.known.resolve() if form.known else None,
        notes=notes,
        brokers=brokers,
        replicas=replicas,
        abort_when=form.abort_when.resolve(),
        limits=limits,
    )


def find(given: str) -> Path:
    """The file of a path or of a bundled name. Raises UsageError naming the nearest."""
    if given.endswith((".yaml", ".yml")) or "/" in given:
        if Path(given).is_file():
            return Path(given)
        if given.endswith((".yaml", ".yml")):
            raise UsageError(f"there is no file {given}", remedy="`chaosd list` shows the bundled experiments")
    known = all_bundled()
    folder, _, stem = given.rpartition("/")
    if folder and stem in known and known[stem].parent.name == folder:
        return known[stem]
    if given not in known:
        near = nearest(given, known)
        hint = f"; did you mean {near!r}?" if near else ""
        remedy = "`chaosd list` shows the bundled ones; or give the path of a file"
        raise UsageError(f"there is no experiment {given!r}{hint}", remedy=remedy)
    return known[given]


def expand(given: str) -> list[str]:
    """The bundled names that a pattern such as `faults/*` or `redis-*` stands for; anything else is left as it is.

    Raises UsageError for a pattern that stands for none.
    """
    if not any(sign in given for sign in "*?[") or Path(given).exists():
        return [given]
    found = [
        name
        for name, path in all_bundled().items()
        if fnmatchcase(name, given) or fnmatchcase(f"{path.parent.name}/{name}", given)
    ]
    if not found:
        raise UsageError(f"no bundled experiment is like {given!r}", remedy="`chaosd list --all` shows them")
    return found


def all_bundled() -> dict[str, Path]:
    """The bundled experiments by name: those of single faults in `faults/`, what is not PASS in `lab/`."""
    root = bundled("experiments")
    return {path.stem: path for name in _FOLDERS for path in sorted((root / name).glob("*" + SUFFIX))}


def in_lab(path: Path) -> bool:
    """Whether a bundled experiment is one that must not PASS."""
    return path.parent.name == LAB


def name_of(path: Path) -> str:
    """The experiment's name: the file's, without its suffixes."""
    return path.name.removesuffix(path.suffix).removesuffix(".chaos")


@dataclass(slots=True)
class _Timeline:
    """Reads the steps; adds to `problems` whatever is wrong with them."""

    source: Document
    catalogue: Mapping[str, FaultForm]
    problems: list[SourceError]
    brokers: int = 1
    replicas: int = 1
    limits: Limits = DEFAULT
    places: list[int] = field(default_factory=list)

    def read(self) -> tuple[Step, ...]:
        """The steps in order of time, each with its id. What is no step at all was told with the whole file."""
        raw = self.source.plain.get("timeline")
        steps = []
        for index, line in enumerate(raw if isinstance(raw, list) else ()):
            # The problems of its common keys are told with the whole file's.
            form = validate(self.source, StepForm, line, ("timeline", index), [])
            step = self._step(form, ("timeline", index)) if form is not None else None
            if step is not None:
                steps.append(step)
                self.places.append(index)
        for clash in clashes(steps):
            place = ("timeline", self.places[clash.index])
            self.problems.append(self.source.error(clash.problem, place, expected=clash.expected))
        for excess in excesses(steps, self.limits, self.brokers):
            place = ("timeline", self.places[excess.index])
            error = self.source.error(excess.problem, place, expected=excess.expected)
            error.remedy = excess.remedy
            self.problems.append(error)
        steps.sort(key=lambda step: step.at_ns)
        return tuple(replace(step, id=f"{n}-{step.fault}-{names.plain(step.on)}") for n, step in enumerate(steps, 1))

    def _step(self, form: StepForm, where: Place) -> Step | None:
        fault = self.catalogue.get(form.fault)
        if fault is None:
            error = self.source.unknown("there is no such fault", (*where, "fault"), form.fault, self.catalogue)
            self.problems.append(error)
            return None
        on = self._on(form, fault, where)
        for_ns = self._for_ns(form, where)
        params = validate(
            self.source, fault.params, form.params, where, self.problems, beside=("at", "for", "on", "replica")
        )
        if params is None or on is None:
            return None
        return Step("", form.at, for_ns, form.fault, on, fault.needs, params, fault.claims)

    def _on(self, form: StepForm, fault: FaultForm, where: Place) -> str | None:
        """What the step is on, by the name of the thing; None when it cannot be."""
        known = fault.things(self.brokers)
        if form.on not in known:
            error = self.source.unknown(f"{form.fault} cannot be done to this", (*where, "on"), form.on, known)
            self.problems.append(error)
            return None
        if form.replica is None:
            return form.on
        if form.on != _TARGET:
            self.problems.append(
                self.source.error(f"{form.on} has no replicas", (*where, "replica"), expected=f"`on: {_TARGET}`")
            )
            return None
        if form.replica >= self.replicas:
            problem = f"the target has {self.replicas} replica{'s' * (self.replicas > 1)}"
            last = self.replicas - 1
            expected = (
                f"{f'0 to {last}' if last else '0'}; the key `replicas` of the experiment says how many there are"
            )
            self.problems.append(
                self.source.error(problem, (*where, "replica"), expected=expected, found=str(form.replica))
            )
            return None
        return names.numbered(_TARGET, (form.replica,))[0] if self.replicas > 1 else form.on

    def _for_ns(self, form: StepForm, where: Place) -> int:
        if form.for_ is None and form.fault not in _STARTS:
            self.problems.append(
                self.source.error("`for` is missing", where, expected="how long the fault is in force")
            )
        elif form.for_ == 0 and form.fault not in _STARTS:
            expected = "a duration above 0s"
            self.problems.append(self.source.error("nothing would happen", (*where, "for"), expected=expected))
        return form.for_ or 0
