"""`chaosd run [experiment] NAME…`: carries experiments out, one after the other, and ends with the worst exit code."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosd.cli.follow import Ended
    from chaosd.experiment.spec import Experiment

_STACKS = ("embedded", "external")


def run(
    names: Annotated[list[str], typer.Argument(metavar="[experiment] NAME|PATH…", help="bundled names or YAML files")],
    target: Annotated[str | None, typer.Option(help="another pipeline than theirs: `chaosd list --targets`")] = None,
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
) -> int:
    """Run experiments: hurt the pipeline, heal it, judge it.

    Exit codes: 0 pass, 1 fail, 2 usage or tool error, 3 inconclusive, 4 preflight, 5 aborted, 6 not healed; of several
    runs the worst. Ctrl-C heals first, drains what it can, and exits 5.
    """
    from chaosd.cli.follow import Follower
    from chaosd.conductor.client import RunRequest
    from chaosd.kernel.errors import Exit, worst

    experiments = _load(names, profile, stack, target)
    ended: list[Ended] = []
    for name, experiment in experiments:
        request = RunRequest(
            experiment=name,
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
        limit_ms = experiment.expect.recovery.within_ns / 1e6
        follower = Follower(experiment.title or name, limit_ms, plain=plain, as_json=as_json)
        ended.append(asyncio.run(follower.follow(request)))
        if ended[-1].code in (Exit.ABORTED, Exit.UNHEALED):
            break
    if len(experiments) > 1:
        _summarise([name for name, _ in experiments], ended, to_stderr=as_json)
    return int(worst(one.code for one in ended))


def _load(names: Sequence[str], profile: str, stack: str, target: str | None) -> list[tuple[str, Experiment]]:
    """Read every experiment before anything starts: a mistake in the last one must not cost the run of the first."""
    from chaosd.experiment.parse import load
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
    if target is not None:
        checked(target)
    known = forms()
    return [(name, load(name, known, profile=profile)) for name in names]


def _summarise(names: Sequence[str], ended: Sequence[Ended], *, to_stderr: bool) -> None:
    out = sys.stderr if to_stderr else sys.stdout
    width = max(len(name) for name in names)
    print(file=out)
    for name, one in zip(names, ended, strict=False):
        where = Path(one.report) if one.report else ""
        print(f"  {one.word:<13} {name:<{width}}  {where}", file=out)
    for name in names[len(ended) :]:
        print(f"  {'not run':<13} {name:<{width}}", file=out)
