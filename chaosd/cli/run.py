"""`chaosd run [experiment] NAME…`: carries experiments out, one after the other, and ends with the worst exit code."""

from __future__ import annotations

import asyncio
import itertools
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosd.cli.follow import Ended
    from chaosd.cli.series import Kept
    from chaosd.conductor.client import RunRequest
    from chaosd.experiment.spec import Experiment
    from chaosd.kernel.errors import Exit

_STACKS = ("embedded", "external")


def run(
    names: Annotated[
        list[str], typer.Argument(metavar="[experiment] NAME|PATH…", help="bundled names (or `faults/*`), YAML files")
    ],
    target: Annotated[
        str | None,
        typer.Option(help="another pipeline than theirs: a target file, or a name of `chaosd list --targets`"),
    ] = None,
    profile: Annotated[str, typer.Option(help="standard: as defined; quick: shorter phases, said so")] = "standard",
    seed: Annotated[int | None, typer.Option(help="repeat a run: same traffic, same chances")] = None,
    stack: Annotated[str, typer.Option(help="embedded (own processes) or external (already there)")] = "embedded",
    stack_file: Annotated[str | None, typer.Option(help="a YAML file whose section `stack` says where it is")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="break things there, although it is no loopback")] = None,
    testbed: Annotated[str | None, typer.Option(help="use (or make) a kept testbed of this name")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="leave the testbed up afterwards")] = False,
    runs_dir: Annotated[str, typer.Option(envvar="CHAOSD_RUNS", help="where run directories go")] = "runs",
    skip_preflight: Annotated[bool, typer.Option("--skip-preflight", help="do not check the target's source")] = False,
    plain: Annotated[bool | None, typer.Option("--plain/--live", help="lines, or the live view of a terminal")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the conductor's events as JSON lines")] = False,
    repeat: Annotated[int, typer.Option(min=1, max=10_000, help="run everything so often: a series")] = 1,
    series: Annotated[Path | None, typer.Option(help="the series' file, RUNS_DIR/series.json; goes on with it")] = None,
) -> int:
    """Run experiments: hurt the pipeline, heal it, judge it.

    Exit codes: 0 pass, 1 fail, 2 usage or tool error, 3 inconclusive, 4 preflight, 5 aborted, 6 not healed; of several
    runs the worst. Ctrl-C heals first, drains what it can, and exits 5. A series tells at its end how likely the
    pipeline recovers in time; repeat its command to go on after a break, with a larger --repeat to make it longer.
    """
    from chaosd.conductor.client import RunRequest

    experiments = _load(names, profile, stack, target)
    request = RunRequest(
        experiment="",
        target=target,
        seed=seed,
        profile=profile,
        runs_dir=runs_dir,
        stack=stack,
        stack_file=stack_file,
        allow_hosts=tuple(allow_host or ()),
        testbed=testbed,
        keep=keep,
        skip_preflight=skip_preflight,
    )
    kept = None
    if repeat > 1 or series is not None:
        kept = _series(series or Path(runs_dir) / "series.json", request, [name for name, _ in experiments])
    return int(_carry_out(experiments, request, repeat, kept, Look(plain, as_json)))


@dataclass(frozen=True, slots=True)
class Look:
    """How a run is shown: lines or the live view (None: what fits), or JSON lines."""

    plain: bool | None
    as_json: bool


def _series(path: Path, request: RunRequest, names: Sequence[str]) -> Kept:
    from chaosd.cli.series import Kept
    from chaosd.report.series import Plan

    plan = Plan(experiments=tuple(names), profile=request.profile, target=request.target or "", seed=request.seed)
    return Kept(path, plan)


def _carry_out(
    experiments: Sequence[tuple[str, Experiment]], request: RunRequest, repeat: int, kept: Kept | None, look: Look
) -> Exit:
    """One run after the other; those that a series has already are not made again."""
    from chaosd.cli.follow import Follower
    from chaosd.kernel.errors import Exit, worst

    out = sys.stderr if look.as_json else sys.stdout
    ended: list[Ended] = []
    for repetition, (name, experiment) in itertools.product(range(repeat), experiments):
        if kept is not None and kept.series.has(name, repetition):
            continue
        seed = None if request.seed is None else request.seed + repetition
        limit_ms = experiment.expect.recovery.within_ns / 1e6
        follower = Follower(experiment.title or name, limit_ms, plain=look.plain, as_json=look.as_json)
        ended.append(asyncio.run(follower.follow(replace(request, experiment=name, seed=seed))))
        if kept is not None:
            kept.add(name, repetition, ended[-1].code, ended[-1].report)
        if ended[-1].code in (Exit.ABORTED, Exit.UNHEALED):
            break
    if kept is not None:
        kept.tell(out)
        return worst([kept.series.exit(), *(one.code for one in ended)])
    if len(experiments) > 1:
        _summarise([name for name, _ in experiments], ended, out)
    return worst(one.code for one in ended)


def _load(names: Sequence[str], profile: str, stack: str, target: str | None) -> list[tuple[str, Experiment]]:
    """Read every experiment before anything starts: a mistake in the last one must not cost the run of the first."""
    from chaosd.conductor import operator
    from chaosd.experiment import fitting, target_file
    from chaosd.experiment.parse import expand, load
    from chaosd.faults.table import forms
    from chaosd.kernel.errors import UsageError, nearest
    from chaosd.target.launch import checked

    if names and names[0] == "experiment":
        names = names[1:]
    if not names:
        raise UsageError("no experiment named", remedy="`chaosd list` shows the bundled ones")
    if stack not in _STACKS:
        near = nearest(stack, _STACKS)
        hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(_STACKS)}"
        raise UsageError(f"there is no stack {stack!r}", remedy=hint)
    if target is not None and not target_file.is_file(target):
        checked(target)
    pipeline = target_file.read(Path(target)) if target is not None and target_file.is_file(target) else None
    known = forms()
    limits = operator.read().limits
    found = [(name, load(name, known, profile=profile, limits=limits)) for given in names for name in expand(given)]
    return found if pipeline is None else [(name, fitting.fit(one, pipeline)) for name, one in found]


def _summarise(names: Sequence[str], ended: Sequence[Ended], out: TextIO) -> None:
    width = max(len(name) for name in names)
    print(file=out)
    for name, one in zip(names, ended, strict=False):
        where = Path(one.report) if one.report else ""
        print(f"  {one.word:<13} {name:<{width}}  {where}", file=out)
    for name in names[len(ended) :]:
        print(f"  {'not run':<13} {name:<{width}}", file=out)
