"""`chaosd report RUN_DIR`: writes the report of a judged run in one of the formats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN_DIR]", help="folder or run id; default: the newest run")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="terminal, html, json, junit, markdown or github")
    ] = "terminal",
    output: Annotated[Path | None, typer.Option("--output", help="write to a file instead of standard output")] = None,
    runs_dir: Annotated[Path, typer.Option(envvar="CHAOSD_RUNS", help="where run ids are looked up")] = Path("runs"),
) -> int:
    """Show what the judge said of a run; one that was never judged is judged first. Exit code: that of the verdict."""
    from chaosd.cli.run_dirs import find
    from chaosd.kernel.errors import UsageError, nearest
    from chaosd.report import model, terminal
    from chaosd.report.formats import FORMATS
    from chaosd.report.judge import VERDICT, judge_run, stored_picture

    if format_ not in FORMATS:
        near = nearest(format_, FORMATS)
        hint = f"did you mean {near!r}?" if near else f"known formats: {', '.join(FORMATS)}"
        raise UsageError(f"there is no format {format_!r}", remedy=hint)
    folder = find(run, runs_dir)
    path = folder / VERDICT
    if not path.is_file():
        judge_run(folder)
    told = model.decode(path.read_bytes(), str(path))
    if format_ == "terminal" and output is None:
        terminal.show(folder)
        return told.exit
    picture = stored_picture(folder)
    if format_ == "github":
        _summarise(FORMATS["markdown"].render(told, picture))
    text = FORMATS[format_].render(told, picture)
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return told.exit
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}", remedy="choose another --output") from error
    print(output)
    return told.exit


def _summarise(markdown: str) -> None:
    """Append to the summary of the step, where GitHub Actions named a file for it."""
    import os

    from chaosd.kernel.errors import UsageError
    from chaosd.report.github import SUMMARY_VARIABLE

    place = os.environ.get(SUMMARY_VARIABLE)
    if not place:
        return
    try:
        with Path(place).open("a", encoding="utf-8") as summary:
            summary.write(markdown + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror}", remedy=f"see {SUMMARY_VARIABLE}") from error
