"""The files of a project: which ones there are, what they are called when imported, and how they parse."""

from __future__ import annotations

import ast
import os
import re
import stat
import tokenize
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from chaosd.kernel.errors import UsageError

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist", "venv", "env"})
_TEST_FOLDERS = frozenset({"tests", "test", "testing"})
_SUPPRESSION = re.compile(r"#\s*chaosd:\s*ignore\[([\w\-, ]+)\]")


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that could not be read as Python. `line` counts from 1, `column` from 0."""

    path: str
    line: int
    column: int
    problem: str


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed module.

    `path` is relative to the root that was asked for (POSIX), `module` the dotted name relative to the folder that
    holds the outermost package. `reported` is False for a file that was read only because others import it.
    `ignored` maps a line to the rules suppressed there.
    """

    path: str
    file: Path
    module: str
    tree: ast.Module
    is_package: bool
    is_test: bool
    reported: bool
    ignored: dict[int, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a project's files lie. `base` is the folder that imports start from, `root` what was asked for."""

    root: Path
    base: Path

    @property
    def context(self) -> Path:
        """The folder that may be read for context: the outermost package of the root, or the base."""
        inside = self.root.relative_to(self.base).parts
        return self.base / inside[0] if len(inside) > 1 or (self.root.is_dir() and inside) else self.base

    @classmethod
    def of(cls, root: Path) -> Layout:
        """Find the base of `root`: the first folder at or above it that is not a package.

        Raises UsageError when there is nothing at `root`.
        """
        if not root.exists():
            raise UsageError(
                f"nothing to check at {root}: no such file or folder", remedy="name a folder of Python source"
            )
        root = root.resolve()
        base = root if root.is_dir() else root.parent
        while (base / "__init__.py").exists() and base.parent != base:
            base = base.parent
        return cls(root, base)

    def files(self) -> list[Path]:
        """All Python files under the root, sorted; virtual environments, caches and hidden folders are left out.

        Raises UsageError when there are none, or a folder cannot be read: what is in it would be left out silently.
        """
        found = [self.root] if not self.root.is_dir() else python_files(self.root, _refuse)
        if not found:
            raise UsageError(f"no Python file under {self.root}", remedy="name the folder that holds the source")
        return found

    def shown(self, file: Path) -> str:
        """The path as reports show it."""
        home = self.root if self.root.is_dir() else self.root.parent
        return PurePosixPath(os.path.relpath(file, home)).as_posix()

    def module_name(self, file: Path) -> str:
        """The dotted name of `file` relative to the base."""
        parts = list(file.relative_to(self.base).with_suffix("").parts)
        if parts and parts[-1] == "__init__":
            parts.pop()
        return ".".join(parts)


def _refuse(error: OSError) -> None:
    raise UsageError(
        f"the folder {error.filename} cannot be read: {error.strerror}",
        remedy="make it readable, or name a folder beside it",
    ) from error


def python_files(folder: Path, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """All Python files under a folder, sorted; symlinked folders are not entered, so that there are no loops.

    `on_error` is told of folders that cannot be read, which are passed over.
    """
    return sorted(_walk(folder, on_error))


def _walk(folder: Path, on_error: Callable[[OSError], None] | None) -> Iterator[Path]:
    for here, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED_FOLDERS
            and not name.startswith(".")
            and not (Path(here) / name / "pyvenv.cfg").exists()
        )
        yield from (Path(here) / name for name in files if name.endswith(".py"))


def read(layout: Layout, file: Path, *, reported: bool) -> Source | Broken:
    """Parse one file; its code is never run."""
    path = layout.shown(file)
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return Broken(path, 1, 0, "is no regular file")  # to read a named pipe would wait for ever
        with tokenize.open(file) as stream:
            text = stream.read()
        with warnings.catch_warnings():
            # an invalid escape in the user's file is a matter for its own linter
            warnings.simplefilter("ignore")
            tree = ast.parse(text, filename=path)
    except SyntaxError as error:
        problem = (error.msg or "invalid syntax").replace(f" for {str(file)!r}", "")  # the same on every machine
        return Broken(path, error.lineno or 1, max((error.offset or 1) - 1, 0), problem)
    except (ValueError, RecursionError, MemoryError) as error:
        return Broken(path, 1, 0, str(error) or type(error).__name__)
    except OSError as error:
        return Broken(path, 1, 0, f"cannot be read: {error.strerror}")
    return Source(
        path=path,
        file=file,
        module=layout.module_name(file),
        tree=tree,
        is_package=file.name == "__init__.py",
        is_test=_is_test(PurePosixPath(path)),
        reported=reported,
        ignored=_suppressions(text),
    )


def _is_test(path: PurePosixPath) -> bool:
    return (
        path.name == "conftest.py"
        or path.name.startswith("test_")
        or path.stem.endswith("_test")
        or not _TEST_FOLDERS.isdisjoint(path.parts[:-1])
    )


def _suppressions(text: str) -> dict[int, frozenset[str]]:
    if "chaosd:" not in text:
        return {}
    return {
        number: frozenset(rule.strip() for rule in found[1].split(","))
        for number, line in enumerate(text.splitlines(), start=1)
        if (found := _SUPPRESSION.search(line))
    }
