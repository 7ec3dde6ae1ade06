"""How fast the preflight reads: 100,000 lines cold and from the cache, and what memory that takes.

    python benchmarks/preflight.py [rounds]

The source is chaosd's own package, repeated under other names until there are 100,000 lines. Each round is a process of
its own, as a person would start it.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _rounds import head, show

import chaosd

CHAOSD = str(Path(sys.executable).with_name("chaosd"))
LINES = 100_000


def build(folder: Path) -> int:
    """Copies of the package, each with its own name inside too; the number of lines."""
    source, lines, number = Path(chaosd.__file__).parent, 0, 0
    while lines < LINES:
        name = f"chaosd{number}"
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.j2", "static"))
        for file in (folder / name).rglob("*.py"):
            text = (
                file.read_text(encoding="utf-8").replace("chaosd.", f"{name}.").replace("from chaosd ", f"from {name} ")
            )
            file.write_text(text, encoding="utf-8")
            lines += text.count("\n")
        number += 1
    return lines


def read_s(folder: Path, cache: Path) -> float:
    """Wall time of one `chaosd preflight`."""
    began = time.monotonic_ns()
    environment = {**os.environ, "CHAOSD_CACHE": str(cache)}
    done = subprocess.run(
        [CHAOSD, "preflight", str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    took_s = (time.monotonic_ns() - began) / 1e9
    print(f"  {took_s:5.1f} s, exit {done.returncode}: {done.stdout.splitlines()[-1]}")
    return took_s


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "source"
        lines = build(folder)
        print(f"{lines} lines")
        cold = [read_s(folder, Path(scratch) / f"cache{number}") for number in range(rounds)]
        warm = [read_s(folder, Path(scratch) / "cache0") for _ in range(rounds)]
        memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    head()
    show(f"{lines} lines, cold", cold, "s", "< 10")
    show(f"{lines} lines, from the cache", warm, "s", "< 1")
    show("memory, largest of all rounds", [memory_mb], "MB", "< 500")


if __name__ == "__main__":
    main()
