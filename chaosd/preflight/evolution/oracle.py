"""Asks the replay process: recorded events → new model; old model → JSON → new model, and back."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaosd.kernel.errors import UsageError
from chaosd.preflight.evolution.recorded import Recorded
from chaosd.preflight.evolution.schema import Schemas
from chaosd.process.spawn import Recipe, run

_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Replay:
    """`failures` are the reasons by model, `replayed` the models that both sides could be rebuilt for."""

    failures: dict[str, str]
    replayed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Readings:
    """`failures` are the reasons by the place of the event, from 0; `readers` the models that could be rebuilt."""

    failures: dict[int, str]
    readers: frozenset[str]


def replay(writer: Schemas, reader: Schemas) -> Replay:
    """Write with the one, read with the other, in a process of its own. Raises UsageError when it cannot run."""
    failures, replayed = _ask({"writer": writer.to_json(), "reader": reader.to_json()})
    return Replay({row["model"]: row["error"] for row in failures}, replayed)


def read(events: Sequence[Recorded], reader: Schemas) -> Readings:
    """Read what was recorded, in a process of its own. Raises UsageError when it cannot run."""
    rows = [(event.model, event.text) for event in events]
    failures, replayed = _ask({"recorded": rows, "reader": reader.to_json()})
    return Readings({row["at"]: row["error"] for row in failures}, replayed)


def _ask(request: dict[str, Any]) -> tuple[list[dict[str, Any]], frozenset[str]]:
    with tempfile.TemporaryDirectory(prefix="chaosd-replay-") as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request), encoding="utf-8")
        log = Path(folder) / "replay.log"
        command = (sys.executable, "-m", "chaosd.preflight.evolution.replay", str(file))
        done = run(Recipe(argv=command, env=dict(os.environ), cwd=folder, log=str(log)), _LIMIT_S)
    try:
        answer = json.loads(done.output)
        failures = [{key: row[key] for key in ("model", "at", "error")} for row in answer["failures"]]
        return failures, frozenset(answer["replayed"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(
            "the replay of schemas did not run", detail=done.output[-2000:], remedy="leave it out with --no-replay"
        ) from error
