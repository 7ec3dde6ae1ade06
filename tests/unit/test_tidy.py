"""The house keeps itself tidy: sizes, the map of the rooms, the changelog's form, what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("chaosd", "verifiers", "tests", "benchmarks")
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".cfg", ".sh", ".html", ".css", ".js", ".sql"}
HEAVY = ("aiokafka", "asyncpg", "fastapi", "numpy", "pydantic", "redis", "rich", "typer")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50

# In pieces, so that this file does not find itself.
MARKS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:work|farm|root|home/[a-z]+|tmp/brief|tmp/bash_jobs)/|" + r"\.\./" + "shared" + r"\b"
)


def sources() -> list[Path]:
    return sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def texts() -> list[Path]:
    tops = [path for path in ROOT.iterdir() if path.is_file()]
    folders = (*CODE, "docs", "experiments", "examples", ".ci", ".github")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    inside = [path for path in inside if "node_modules" not in path.parts]  # fetched by tests, and nobody's here
    named = {"Makefile", "run"}
    return sorted(path for path in [*tops, *inside] if path.suffix in TEXT or path.name in named)


def long_functions(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield node.name, lines


def unnamed_modules(modules: list[str], text: str) -> list[str]:
    """Modules (`chaosd/room/file.py`) of which neither the path nor the folder stands in the text, in backquotes."""
    named = set(re.findall(r"`([^`\s]+)`", text))
    return [module for module in modules if module not in named and f"{module.rpartition('/')[0]}/" not in named]


def changelog_faults(text: str) -> list[str]:
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    faults = [] if headings[:1] == ["[Unreleased]"] else ["the first section is not [Unreleased]"]
    faults += [
        f"not a version with its date: {heading}"
        for heading in headings[1:]
        if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
    ]
    return faults + [
        f"not a kind: {kind}" for kind in re.findall(r"^### (.+)$", text, re.MULTILINE) if kind not in kinds
    ]


def imported_by(*arguments: str) -> set[str]:
    """The top-level packages that a chaosd command line imports."""
    code = (
        "import sys; from chaosd.cli.app import run; run(sys.argv[1:]);"
        "print('\\n'.join({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    return set(done.stderr.split())


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert [f"{path.relative_to(ROOT)}: {n}" for path, n in lengths.items() if n > FILE_LINES_MAX] == []


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines"
        for path in sources()
        for name, lines in long_functions(path.read_text(encoding="utf-8"))
    ]
    assert long == []


@pytest.mark.parametrize(("lines", "found"), [(FUNCTION_LINES_MAX, []), (FUNCTION_LINES_MAX + 1, [("f", 51)])])
def test_length_of_a_function_counts_its_first_and_last_line(lines: int, found: list[tuple[str, int]]) -> None:
    assert list(long_functions("def f():\n" + "    x = 1\n" * (lines - 1))) == found


def test_every_module_is_on_the_map() -> None:
    modules = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "chaosd").rglob("*.py")
        if path.relative_to(ROOT).as_posix() != "chaosd/__init__.py"
    ]
    assert unnamed_modules(modules, (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")) == []


def test_files_of_tests_that_begin_first_are_there() -> None:
    named = re.findall(r'"(test_\w+\.py)"', (ROOT / "tests/conftest.py").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not list((ROOT / "tests").rglob(name))] == []


def test_map_names_no_room_that_is_gone() -> None:
    text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(chaosd/[^`]+)` \|", text, re.MULTILINE)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_module_is_on_the_map_by_its_own_line_or_its_folders() -> None:
    modules = ["chaosd/a.py", "chaosd/room/b.py", "chaosd/room/inner/c.py"]
    assert unnamed_modules(modules, "`chaosd/a.py` and `chaosd/room/`") == ["chaosd/room/inner/c.py"]


def test_every_room_says_what_it_is_for() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "chaosd").rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_rooms_do_not_re_export() -> None:
    busy = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "chaosd").rglob("__init__.py")
        if len(ast.parse(path.read_text(encoding="utf-8")).body) > (2 if path.parent == ROOT / "chaosd" else 1)
    ]
    assert busy == []


def test_package_holds_only_its_version() -> None:
    docstring, version = ast.parse((ROOT / "chaosd/__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(version, ast.Assign)
    assert [ast.unparse(target) for target in version.targets] == ["__version__"]


def test_changelog_has_the_agreed_form() -> None:
    assert changelog_faults((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) == []


def test_changelog_form_notices_deviations() -> None:
    text = "## 0.1\n\n### News\n\n## [0.2.0] - 2026-01-01\n\n## [0.1.0]\n"
    assert changelog_faults(text) == [
        "the first section is not [Unreleased]",
        "not a version with its date: [0.1.0]",
        "not a kind: News",
    ]


def test_nothing_is_left_to_do() -> None:
    assert [str(path.relative_to(ROOT)) for path in sources() if MARKS.search(path.read_text(encoding="utf-8"))] == []


def test_no_path_of_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in texts()
        for match in MACHINE_PATHS.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("text", ["see /" + "work/main", "cd '/" + "root/x'", "../" + "shared/x", "=/home/" + "me/x"])
def test_path_of_a_machine_is_recognised(text: str) -> None:
    assert MACHINE_PATHS.search(text)


@pytest.mark.parametrize("text", ["docs/work/x", "/proc/self/root/x", "the root/ of it", "../shared_x/y", "/tmp/x"])
def test_other_paths_are_no_machines(text: str) -> None:
    assert not MACHINE_PATHS.search(text)


def test_no_drawer_for_odds_and_ends() -> None:
    names = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    assert [str(path.relative_to(ROOT)) for path in sources() if path.name in names] == []


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


@pytest.mark.parametrize("argument", ["--help", "--version", "no-such-command"])
def test_talking_about_commands_imports_nothing_heavy(argument: str) -> None:
    assert imported_by(argument).isdisjoint(HEAVY)


def test_imports_of_a_command_line_are_seen() -> None:
    assert "chaosd" in imported_by("--version")
