"""`chaosd preflight PATH`: what would break the pipeline at run time, found by reading its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def preflight(
    path: Annotated[Path, typer.Argument(help="Folder or file of Python source. It is read, never run.")],
    format_: Annotated[str, typer.Option("--format", help="text, json or github")] = "text",
    rule: Annotated[list[str] | None, typer.Option("--rule", help="Only this rule; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write the report to a file.")] = None,
) -> int:
    """Find contract, schema and Redis decode errors before any traffic. Exit 0: none, 1: findings, 2: error."""
    from chaosd.kernel.errors import Exit, UsageError, nearest
    from chaosd.preflight import check
    from chaosd.preflight.output.table import FORMATS

    if format_ not in FORMATS:
        near = nearest(format_, FORMATS)
        remedy = f"did you mean {near!r}?" if near else f"known formats: {', '.join(FORMATS)}"
        raise UsageError(f"there is no format {format_!r}", remedy=remedy)
    report = check.run(path, rules=rule)
    text = FORMATS[format_](report)
    if output is None:
        typer.echo(text)
    else:
        try:
            output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}", remedy="choose another --output") from error
    return int(Exit.PASS if report.clean else Exit.FAIL)
