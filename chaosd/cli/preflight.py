"""`chaosd preflight PATH`: what would break the pipeline at run time, found by reading its source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from chaosd.preflight.report import Evolution, Report

_SNAPSHOTS = Path("chaosd-schemas")


class _PathFirst(TyperGroup):
    """`chaosd preflight src/` means `chaosd preflight check src/`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["check", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_PathFirst,
    help="Find what would kill a pipeline at run time, without running it: chaosd preflight PATH.",
    no_args_is_help=True,
    add_completion=False,
)
Source = Annotated[Path, typer.Argument(metavar="PATH", help="Folder or file of Python source. It is read, never run.")]
Tier2 = Annotated[
    bool, typer.Option("--tier2", help="Ask a type checker too, pyrefly, on a copy with what was inferred.")
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, max=64, help="Processes that share the work; by default what pays off.")
]
Snapshots = Annotated[Path, typer.Option("--snapshots", help="Folder of the schema snapshots.")]


@app.command()
def check(
    path: Source,
    format_: Annotated[str, typer.Option("--format", help="text, json, github, sarif or junit")] = "text",
    rule: Annotated[list[str] | None, typer.Option("--rule", help="Only this rule; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write the report to a file.")] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Findings to live with: only new ones count.")
    ] = None,
    write_baseline: Annotated[
        bool, typer.Option("--write-baseline", help="Write what is found to --baseline, and end with 0.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Take what is found no more out of --baseline.")] = False,
    snapshots: Snapshots = _SNAPSHOTS,
    compatibility: Annotated[
        str, typer.Option("--compatibility", help="With snapshots: backward, forward or full.")
    ] = "backward",
    replay: Annotated[bool, typer.Option(help="With snapshots: replay generated events, in a process.")] = True,
    events: Annotated[
        list[Path] | None, typer.Option("--events", help="JSONL of recorded events to be read; may be repeated.")
    ] = None,
    tier2: Tier2 = False,
    jobs: Jobs = None,
    cache: Annotated[bool, typer.Option(help="Take the report from the cache when no file changed.")] = True,
    infra: Annotated[bool, typer.Option("--infra", help="Measure the infrastructure too, as `chaosd doctor`.")] = False,
) -> int:
    """Find contract, schema, Redis, serialization and evolution errors before any traffic.

    Exit 0: none, 1: findings (new ones, with a baseline), 2: error.
    """
    from chaosd.kernel.errors import Exit, UsageError
    from chaosd.preflight.cache import checked
    from chaosd.preflight.output.table import FORMATS, render
    from chaosd.preflight.report import DIRECTIONS, Evolution
    from chaosd.preflight.tier2.checker import installed

    _known("format", format_, FORMATS)
    _known("compatibility", compatibility, DIRECTIONS)
    if (prune or write_baseline) and baseline is None:
        raise UsageError("--prune and --write-baseline need a baseline", remedy="name it with --baseline FILE")
    _whole(rule, tier2=tier2, events=bool(events), replay=replay)
    held_against = Evolution(snapshots, compatibility, replay, tuple(events or ()))
    evolution = held_against if snapshots.is_dir() or events else None
    report = (checked if cache else _unchecked)(path, rule, evolution, tier2=installed() if tier2 else "", jobs=jobs)
    if infra:
        report = _with_infrastructure(report)
    if baseline is not None:
        report = _against(report, baseline, write=write_baseline, prune=prune)
    _write(render(report, format_), output)
    return int(Exit.PASS if report.clean else Exit.FAIL)


@app.command()
def snapshot(path: Source, snapshots: Snapshots = _SNAPSHOTS) -> int:
    """Keep the schemas of the models and enums at PATH, for later versions to be held against. Commit the file."""
    from chaosd.preflight import check as checking
    from chaosd.preflight.evolution.snapshots import save

    found = checking.snapshot(path)
    file = save(snapshots, found)
    what = f"{len(found.models)} models and {len(found.enums)} enums"
    typer.echo(f"{what}: nothing changed since the last snapshot" if file is None else f"{file}: {what}")
    return 0


@app.command()
def probe(
    factories: Annotated[
        list[str],
        typer.Argument(metavar="MODULE:NAME…", help="What makes or is a Redis client. It is RUN, in a process."),
    ],
    expect: Annotated[str, typer.Option("--expect", help="text or bytes; otherwise the mode is only told.")] = "",
    python: Annotated[str, typer.Option("--python", help="The interpreter that the pipeline runs with.")] = "",
    folder: Annotated[Path, typer.Option("--folder", help="Where its modules are imported from.")] = Path(),
) -> int:
    """Build the Redis clients of a pipeline in a process of their own, and tell their decode mode.

    This runs code of the pipeline, unlike everything else here. Exit 0: told, or as expected, 1: other mode, 2: error.
    """
    from chaosd.kernel.errors import Exit
    from chaosd.preflight.probe import MODES, decode_mode

    if expect:
        _known("mode", expect, MODES)
    wrong = 0
    for factory in factories:
        mode = decode_mode(factory, folder, python)
        wrong += bool(expect) and mode != expect
        typer.echo(f"{factory}: {mode} (decode_responses is {'on' if mode == 'text' else 'off'})")
    return int(Exit.FAIL if wrong else Exit.PASS)


def _unchecked(
    path: Path, rules: list[str] | None, evolution: Evolution | None, *, tier2: str, jobs: int | None
) -> Report:
    from chaosd.preflight.check import run

    return run(path, rules, evolution, tier2=bool(tier2), jobs=jobs)


def _with_infrastructure(report: Report) -> Report:
    from dataclasses import replace

    from chaosd.cli.doctor import measure, table

    found = measure("")
    for line in table(found):
        typer.echo(line, err=True)
    failed = tuple(check.finding() for check in found if not check.passed)
    return replace(report, findings=(*report.findings, *failed))


def _whole(rules: list[str] | None, *, tier2: bool, events: bool, replay: bool) -> None:
    """Refuse what would be asked for and then left out."""
    from chaosd.kernel.errors import UsageError

    if tier2 and rules:
        raise UsageError("--tier2 is asked only without --rule", remedy="leave one of them out")
    if events and (rules or not replay):
        raise UsageError("--events are replayed only without --rule and --no-replay", remedy="leave one of them out")


def _write(text: str, output: Path | None) -> None:
    from chaosd.kernel.errors import UsageError

    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}", remedy="choose another --output") from error


def _known(what: str, given: str, known: Any) -> None:
    from chaosd.kernel.errors import UsageError, nearest

    if given not in known:
        near = nearest(given, known)
        remedy = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"there is no {what} {given!r}", remedy=remedy)


def _against(report: Report, file: Path, *, write: bool, prune: bool) -> Report:
    """The report with what is new only; what is fixed is told on standard error."""
    from dataclasses import replace

    from chaosd.preflight import baseline as baselines

    if write:
        baselines.write(file, map(baselines.key, report.findings))
        typer.echo(f"{file}: {len(report.findings)} findings to live with", err=True)
        return replace(report, findings=())
    before = baselines.load(file)
    compared = baselines.compare(report.findings, before)
    for path, rule, symbol, message in compared.fixed:
        typer.echo(f"fixed: {path}: {rule}: {message}" + ("" if symbol in message else f" ({symbol})"), err=True)
    typer.echo(f"baseline: {len(compared.new)} new, {compared.known} known, {len(compared.fixed)} fixed", err=True)
    if prune and compared.fixed:
        left = before.copy()
        left.subtract(compared.fixed)
        baselines.write(file, (+left).elements())
    return replace(report, findings=compared.new)
