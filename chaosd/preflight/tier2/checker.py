"""Runs pyrefly over a folder, in a process of its own and within a time limit."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from chaosd.kernel.errors import UsageError
from chaosd.process.spawn import Recipe, run

LIMIT_S = 120.0
KINDS = ("missing-attribute", "bad-argument-type", "unsupported-operation", "bad-index")
# Checked along with the source: a checker that does not tell this error has not looked at anything.
_CANARY = "_chaosd_canary.py"
_CANARY_SOURCE = 'b"".encode()\n'


@dataclass(frozen=True, slots=True)
class Error:
    """What the checker tells: `line` counts from 1."""

    file: Path
    line: int
    kind: str
    text: str


def installed() -> str:
    """The checker's version. Raises UsageError with the remedy when it is not there."""
    try:
        found = version("pyrefly") if importlib.util.find_spec("pyrefly") is not None else None
    except PackageNotFoundError:
        found = None
    if found is None:
        raise UsageError("--tier2 needs pyrefly, which is not installed", remedy="pip install 'chaosd[types]'")
    return found


def check(
    folder: Path, search: Sequence[Path], command: Sequence[str] = (sys.executable, "-m", "pyrefly")
) -> list[Error]:
    """All errors of the kinds above in a folder; libraries are taken for unknown, so that the answer is the same
    everywhere. Raises UsageError when the checker does not answer as it should, StackError at the time limit.
    """
    (folder / _CANARY).write_text(_CANARY_SOURCE, encoding="utf-8")
    with_answer = folder.parent / "answer.json"
    config = folder.parent / "pyrefly.toml"
    config.write_text(_configuration(folder, search), encoding="utf-8")
    answer = f"json:{with_answer}"
    argv = (*command, "check", "--config", str(config), "--output", answer, "--relative-to", "", "--summary=none")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYREFLY_")}
    log = str(folder.parent / "pyrefly.log")
    done = run(Recipe(argv=argv, env=env, cwd=str(folder.parent), log=log), LIMIT_S)
    try:
        rows = json.loads(with_answer.read_text(encoding="utf-8"))["errors"]
        errors = [
            Error((folder.parent / row["path"]).resolve(), row["line"], row["name"], row["description"]) for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"pyrefly gave no answer (exit {done.code})", detail=done.output[-2000:], remedy="leave out --tier2"
        ) from error
    if not any(error.file.name == _CANARY for error in errors):
        raise UsageError(
            "pyrefly did not check the source: a planted error was not told",
            detail=done.output[-2000:],
            remedy="leave out --tier2",
        )
    return [error for error in errors if error.kind in KINDS and error.file.name != _CANARY]


def _configuration(folder: Path, search: Sequence[Path]) -> str:
    """In TOML, whose strings and lists are those of JSON. Without a preset pyrefly shows next to nothing."""
    settings = {
        "preset": "default",
        "project-includes": [f"{folder}/**/*.py"],
        "project-excludes": [],
        "disable-project-excludes-heuristics": True,
        "use-ignore-files": False,
        "search-path": [str(place) for place in search],
        "disable-search-path-heuristics": True,
        "skip-interpreter-query": True,
        "site-package-path": [],
        "ignore-missing-imports": ["*"],
        "python-version": f"{sys.version_info.major}.{sys.version_info.minor}.0",
        "python-platform": "linux",
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
