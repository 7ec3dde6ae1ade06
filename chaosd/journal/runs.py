"""Run ids, the list of runs, and which of them are old enough to go."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chaosd.kernel.clock import SECOND, Clock
from chaosd.kernel.errors import JournalError

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-z-]*[0-9a-f]{6}")
_NOT_IN_NAMES = re.compile(r"[^0-9a-z]+")


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run in a folder of runs. `verdict` is empty when it was never judged."""

    run_id: str
    path: Path
    verdict: str
    exit_code: int | None


def new_run_id(clock: Clock, name: str = "") -> str:
    """`20250131T120000-redis-latency-1f2e3d`: sorts by time, tells what it was, and differs within a second."""
    stamp = datetime.fromtimestamp(clock.wall_ns() / SECOND, UTC).strftime("%Y%m%dT%H%M%S")
    word = _NOT_IN_NAMES.sub("-", name.lower()).strip("-")[:40].strip("-")
    return "-".join(filter(None, (stamp, word, secrets.token_hex(3))))


def list_runs(runs_dir: Path) -> list[RunEntry]:
    """The runs in a folder, newest first. A folder that is not there holds none."""
    try:
        found = [path for path in runs_dir.iterdir() if _ID.fullmatch(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    return [_entry(path) for path in sorted(found, key=lambda path: path.name, reverse=True)]


def _entry(path: Path) -> RunEntry:
    try:
        stored = json.loads((path / "verdict.json").read_text(encoding="utf-8"))
        verdict, code = str(stored.get("verdict", "")), stored.get("exit_code", stored.get("exit"))
    except (OSError, ValueError, AttributeError):
        verdict, code = "", None
    return RunEntry(path.name, path, verdict, code if isinstance(code, int) else None)


def expired(runs: list[RunEntry], keep: int) -> list[RunEntry]:
    """Which runs go when `keep` stay: the oldest PASS first, what failed or was never judged is kept longest."""
    oldest_first = sorted(runs, key=lambda run: (run.verdict != "PASS", run.run_id))
    return oldest_first[: max(0, len(runs) - keep)]


def remove(run: RunEntry) -> None:
    """Delete one run directory. Raises JournalError when it cannot be deleted."""
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise JournalError(f"cannot delete {run.path}: {error}") from error
