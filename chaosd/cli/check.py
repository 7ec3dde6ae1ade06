"""`chaosd check`: tells every mistake in the files people write, for editors and CI; nothing is started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaosd.kernel.errors import SourceError

_SUFFIXES = (".yaml", ".yml")


def check(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="experiment and target files, or folders of them")
    ],
    format_: Annotated[str, typer.Option("--format", help="text, github (annotations) or sarif")] = "text",
    output: Annotated[Path | None, typer.Option("--output", help="write to a file instead of standard output")] = None,
) -> int:
    """Check experiment and target files. Exit 0: all can be run, 2: there are mistakes.

    In a folder every `*.chaos.yaml` is read, and every other YAML file that says `chaosd:` at its top.
    """
    from chaosd.kernel.errors import Exit, UsageError, nearest
    from chaosd.report.mistakes import FORMATS

    if format_ not in FORMATS:
        near = nearest(format_, FORMATS)
        hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(FORMATS)}"
        raise UsageError(f"there is no format {format_!r}", remedy=hint)
    files = list(_files(paths))
    mistakes = [mistake for file in files for mistake in _mistakes(file)]
    text = FORMATS[format_](mistakes)
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}", remedy="choose another --output") from error
    else:
        sys.stdout.write(text)
    print(f"{len(files)} files, {len(mistakes)} mistakes", file=sys.stderr)
    return Exit.USAGE if mistakes else Exit.PASS


def _mistakes(file: Path) -> Sequence[SourceError]:
    from chaosd.catalogue import catalogue
    from chaosd.experiment import document, parse, target_file
    from chaosd.kernel.errors import SourceError
    from chaosd.target.launch import names

    try:
        source = document.read(file)
        if isinstance(source.plain.get("target"), dict):
            target_file.resolve(source, file)
        else:
            parse.resolve(source, catalogue().forms, name=parse.name_of(file), targets=names())
    except SourceError as error:
        return (error, *error.others)
    return ()


def _files(paths: Sequence[str]) -> Iterator[Path]:
    from chaosd.kernel.errors import UsageError

    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from (one for one in sorted(path.rglob("*")) if one.suffix in _SUFFIXES and _is_one(one))
        elif path.is_file():
            yield path
        else:
            raise UsageError(f"there is no file {given}", remedy="give files, or folders of them")


def _is_one(path: Path) -> bool:
    if path.name.endswith(".chaos.yaml"):
        return True
    try:
        with path.open(encoding="utf-8") as file:
            return any(line.startswith("chaosd:") for line in file)
    except (OSError, UnicodeDecodeError):
        return False
