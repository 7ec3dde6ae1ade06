"""Reads an experiment file: YAML 1.2 with positions → forms → values. All problems of a file are told at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from chaosd.experiment import document, fitting, target_file
from chaosd.experiment.document import Document
from chaosd.experiment.limits import DEFAULT, Limits
from chaosd.experiment.problems import one_error, validate
from chaosd.experiment.profiles import resolve_phases
from chaosd.experiment.spec import PROFILES, Experiment, FaultForm
from chaosd.experiment.steps import Timeline
from chaosd.experiment.target import Pipeline
from chaosd.experiment.written import BROKERS_MAX, REPLICAS_MAX, ExperimentForm
from chaosd.kernel.bundled import bundled
from chaosd.kernel.errors import SourceError, UsageError, nearest

SUFFIX = ".yaml"
LAB = "lab"
_FOLDERS = ("", "faults", LAB)


def load(
    given: str,
    catalogue: Mapping[str, FaultForm],
    *,
    profile: str = "standard",
    targets: Collection[str] = (),
    limits: Limits = DEFAULT,
    seed: int = 0,
) -> Experiment:
    """Read an experiment by path or by the name of a bundled one. `targets`: the names there are; empty: any will do.

    `limits` are the operator's; the experiment may tighten them. `seed` decides what the timeline leaves to chance;
    whether the experiment is as it must be does not depend on it.

    Raises UsageError when there is none, SourceError (one line per problem) when the file is not as it must be.
    """
    if profile not in PROFILES:
        near = nearest(profile, PROFILES)
        remedy = f"did you mean {near!r}?" if near else f"one of: {', '.join(PROFILES)}"
        raise UsageError(f"there is no profile {profile!r}", remedy=remedy)
    path = find(given)
    return resolve(
        document.read(path), catalogue, name=name_of(path), profile=profile, targets=targets, limits=limits, seed=seed
    )


def resolve(
    source: Document,
    catalogue: Mapping[str, FaultForm],
    *,
    name: str,
    profile: str = "standard",
    targets: Collection[str] = (),
    limits: Limits = DEFAULT,
    seed: int = 0,
) -> Experiment:
    """Make an experiment of a document. Raises SourceError with all its problems."""
    problems: list[SourceError] = []
    form = validate(source, ExperimentForm, source.plain, (), problems)
    # Of a file that is not as it must be, nobody knows how many of a thing there are: any number will do.
    brokers, replicas = (form.stack.kafka.brokers, form.replicas) if form else (BROKERS_MAX, REPLICAS_MAX)
    pipeline = None
    if form is not None and target_file.is_file(form.target):
        pipeline = _pipeline(source, form)
        replicas = len(pipeline.processes)
    limits = limits.tightened(form.limits) if form else limits
    timeline = Timeline(source, catalogue, problems, seed, brokers, replicas, pipeline, limits)
    steps = timeline.read()
    if form is not None and targets and pipeline is None and form.target not in targets:
        problems.append(source.unknown("there is no such target", ("target",), form.target, targets))
    if form is not None:
        timeline.check_overlays(form.traffic.resolve())
    if form is None or problems:
        raise one_error(problems)
    traffic = form.traffic.resolve()
    phases, notes = resolve_phases(form.phases, traffic, profile)
    made = Experiment(
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
        replay=form.replay,
    )
    return made if pipeline is None else fitting.fit(made, pipeline)


def _pipeline(source: Document, form: ExperimentForm) -> Pipeline:
    """The target file that an experiment names, from its own folder. Raises SourceError."""
    path = Path(source.file).parent / form.target
    if not path.is_file():
        raise source.error(
            "there is no such target file", ("target",), expected="a path from this file", found=form.target
        )
    if form.replicas > 1:
        raise source.error(
            "how many replicas there are is for the target file to say", ("replicas",), expected="no such key here"
        )
    return target_file.read(path)


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
    """The bundled experiments by name: those of single faults in `faults/`, demonstrations in `lab/`."""
    root = bundled("experiments")
    return {path.stem: path for name in _FOLDERS for path in sorted((root / name).glob("*" + SUFFIX))}


def in_lab(path: Path) -> bool:
    """Whether a bundled experiment demonstrates something: a verdict that is no PASS, or a pipeline with a mistake."""
    return path.parent.name == LAB


def name_of(path: Path) -> str:
    """The experiment's name: the file's, without its suffixes."""
    return path.name.removesuffix(path.suffix).removesuffix(".chaos")
