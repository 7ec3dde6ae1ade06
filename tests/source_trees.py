"""Trees of source to run the preflight over: small ones written in the test, and altered copies of the pipeline."""

from __future__ import annotations

import ast
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from chaosd.preflight.check import run
from chaosd.preflight.report import Report

_PACKAGE = Path(__file__).resolve().parents[1] / "chaosd"
_MARK = re.compile(r"# !([\w-]+)")

Check = Callable[[Mapping[str, str]], Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Write files, run the preflight, and hold its findings against the marks `# !rule` in them."""

    def checked(files: Mapping[str, str]) -> Report:
        marked = set()
        for name, text in files.items():
            file = tmp_path / "project" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            source = textwrap.dedent(text).lstrip("\n")
            file.write_text(source, encoding="utf-8")
            for number, line in enumerate(source.splitlines(), start=1):
                marked.update((name, number, rule) for rule in _MARK.findall(line))
        report = run(tmp_path / "project")
        assert {(f.path, f.line, f.rule) for f in report.findings} == marked, report.findings
        return report

    return checked


class PipelineCopy:
    """A copy of chaosd's own pipeline and of what it imports, to be altered and checked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("envelope", "target/reference"):
            shutil.copytree(_PACKAGE / folder, root / "chaosd" / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for package in ("chaosd", "chaosd/target"):
            (root / package / "__init__.py").touch()

    def replace(self, name: str, pattern: str, new: str) -> None:
        """Alter one file; the pattern must be there."""
        file = self.root / "chaosd" / name
        text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert count, f"{pattern!r} is not in {name}"
        file.write_text(text, encoding="utf-8")

    def without_annotations(self, *names: str) -> None:
        """Take the annotations out of the files whose path ends with one of `names`, of all without names."""
        for file in self.root.rglob("*.py"):
            if not names or file.name in names:
                tree = _Bare().visit(ast.parse(file.read_text(encoding="utf-8")))
                file.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")

    def lines(self, pattern: str) -> set[tuple[str, int]]:
        """Where the copy says something."""
        return {
            (file.relative_to(self.root).as_posix(), number)
            for file in self.root.rglob("*.py")
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
            if re.search(pattern, line)
        }

    def check(self) -> set[tuple[str, int, str]]:
        """The places and rules of all findings."""
        return {(finding.path, finding.line, finding.rule) for finding in run(self.root).findings}


def naming(enum: str, to: Path) -> Path:
    """A copy of those of chaosd's files that can name a member of an enum: by its own name or by any other given to it.

    The rest of the package says nothing about the enum, and to read all of it takes ten seconds of a processor.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in _PACKAGE.rglob("*.py")}
    names, grown = set[str](), {enum}
    while grown - names:
        names |= grown
        alias = re.compile(
            rf"\b(?:{'|'.join(names)})\s+as\s+(\w+)|(\w+)\s*=\s*(?:\w+\.)*(?:{'|'.join(names)})\s*$", re.MULTILINE
        )
        grown = {name for text in texts.values() for match in alias.finditer(text) for name in match.groups() if name}
    said = re.compile(rf"\b(?:{'|'.join(names)})\b")
    for file, text in texts.items():
        if said.search(text) or file.name == "__init__.py":
            place = to / "chaosd" / file.relative_to(_PACKAGE)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
    return to


class _Bare(ast.NodeTransformer):
    """Removes annotations; where the language needs one (fields of a dataclass) it becomes `object`."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Name("object", ast.Load())
        return node


@pytest.fixture
def pipeline_copy(tmp_path: Path) -> PipelineCopy:
    """chaosd's own pipeline, ready to be altered."""
    return PipelineCopy(tmp_path / "copy")
