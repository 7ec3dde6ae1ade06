"""How fast the preflight reads code that nobody here wrote: cold and from the cache, and what memory that takes.

    python benchmarks/preflight.py [--rounds N] [--jobs N] [PATH]

Without PATH the source is that of well-known packages that chaosd depends on, copied from its own environment until
there are 100,000 lines. Each round is a process of its own, as a person would start it. Memory is the proportional set
size (PSS) of the process and all its children, looked at twenty times a second.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from _rounds import head, show

LINES = 100_000
PACKAGES = "fastapi anyio aiokafka rich jinja2 click pydantic redis".split()
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Round:
    """Wall time, the largest memory seen, and the last line of the report."""

    took_s: float
    memory_mb: float
    told: str


def build(folder: Path) -> list[str]:
    """Copies of packages with 100,000 lines in all; their names."""
    taken: list[str] = []
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None and lines(folder) < LINES:
            shutil.copytree(
                Path(found.origin).parent,
                folder / name,
                ignore=lambda place, names: {n for n in names if _other(place, n)},
            )
            taken.append(name)
    return taken


def _other(place: str, name: str) -> bool:
    return name == "__pycache__" or (not name.endswith(".py") and not (Path(place) / name).is_dir())


def lines(folder: Path) -> int:
    """Of all Python files below."""
    return sum(file.read_bytes().count(b"\n") for file in folder.rglob("*.py"))


def memory_mb(process: psutil.Process) -> float:
    """Of a process and its children."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return total / 1e6


def read(source: Path, cache: Path, jobs: list[str]) -> Round:
    """One `chaosd preflight`. Raises SystemExit when it does not do what it should."""
    argv = [sys.executable, "-m", "chaosd", "preflight", str(source), *jobs]
    began, largest = time.monotonic_ns(), 0.0
    started = subprocess.Popen(
        argv,
        env={**os.environ, "CHAOSD_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = psutil.Process(started.pid)
    output = None
    while output is None:
        try:
            output, _ = started.communicate(timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            largest = max(largest, memory_mb(process))
    took_s = (time.monotonic_ns() - began) / 1e9
    if started.returncode not in {0, 1}:
        raise SystemExit(f"exit {started.returncode}: {output}")
    return Round(took_s, largest, output.splitlines()[-1])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="How fast the preflight reads code that nobody here wrote.")
    parser.add_argument("path", nargs="?", type=Path, help="a folder of Python source instead of the packages")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, help="as for `chaosd preflight`")
    asked = parser.parse_args()
    jobs = [] if asked.jobs is None else ["--jobs", str(asked.jobs)]
    with tempfile.TemporaryDirectory() as scratch:
        source = asked.path or Path(scratch) / "source"
        print(f"source: {source if asked.path else ', '.join(build(source))}")
        count = lines(source)
        cold = [read(source, Path(scratch) / f"cache{number}", jobs) for number in range(asked.rounds)]
        warm = [read(source, Path(scratch) / "cache0", jobs) for _ in range(asked.rounds)]
    print(f"{count} lines; {cold[0].told}")
    if len({one.told for one in (*cold, *warm)}) > 1:
        raise SystemExit("the rounds differ in what they found")
    head()
    show("cold", [one.took_s for one in cold], "s", "")
    show("cold, per 100,000 lines", [one.took_s * LINES / count for one in cold], "s", "< 10")
    show("from the cache", [one.took_s for one in warm], "s", "< 1")
    show("memory (PSS of all processes)", [one.memory_mb for one in cold], "MB", "< 500")


if __name__ == "__main__":
    main()
