"""How long a person waits: `chaosd --help`, the stack, the first envelope, a whole warm run of redis-latency.

    python benchmarks/command.py [rounds]

Alone on the machine: two cores are shared by stack, pipeline and instruments.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _rounds import head, show

from chaosd.journal import history

CHAOSD = str(Path(sys.executable).with_name("chaosd"))


def help_ms() -> float:
    """Wall time of `chaosd --help`."""
    began = time.monotonic_ns()
    subprocess.run([CHAOSD, "--help"], check=True, capture_output=True)
    return (time.monotonic_ns() - began) / 1e6


def plugin_ms() -> float:
    """What loading the plugin adds to a pytest that does not use it."""
    code = (
        "import pytest, time; began = time.perf_counter_ns(); import chaosd.pytest_plugin.plugin;"
        "print((time.perf_counter_ns() - began) / 1e6)"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def run_s(folder: Path) -> dict[str, float]:
    """One warm run: seconds from the command to its end, to a ready stack, to the first result of the pipeline."""
    began = time.monotonic_ns()
    done = subprocess.run(
        [CHAOSD, "run", "experiment", "redis-latency", "--json", "--runs-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    whole_s = (time.monotonic_ns() - began) / 1e9
    events = [json.loads(line) for line in done.stdout.splitlines()]
    run_dir = Path(next(event["run_dir"] for event in events if event["event"] == "run"))
    verdict = next(event["verdict"] for event in events if event["event"] == "verdict")
    stack = next(e["text"] for e in events if e["event"] == "note" and e["text"].startswith("stack ready"))
    sightings = history.load(run_dir).column("sightings")
    first_ns = int(sightings["seen_ns"][sightings["topic"] == 1].min())
    print(f"  run {run_dir.name}: {verdict}, exit {done.returncode}, {whole_s:.1f} s")
    return {"whole": whole_s, "stack": float(stack.split()[3]), "first": (first_ns - began) / 1e9}


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    helps = [help_ms() for _ in range(5 * rounds)]
    plugins = [plugin_ms() for _ in range(5 * rounds)]
    with tempfile.TemporaryDirectory() as folder:
        runs = [run_s(Path(folder)) for _ in range(rounds)]
    head()
    show("chaosd --help", helps, "ms", "< 150")
    show("pytest plugin, loaded and not used", plugins, "ms", "< 30")
    show("stack ready (inside the run)", [run["stack"] for run in runs], "s", "≤ 3")
    show("command → first envelope through the pipeline", [run["first"] for run in runs], "s", "≤ 5")
    show("chaosd run experiment redis-latency", [run["whole"] for run in runs], "s", "≤ 45")


if __name__ == "__main__":
    main()
