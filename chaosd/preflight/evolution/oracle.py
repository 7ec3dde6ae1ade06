"""Asks the replay process: old model → JSON → new model, and back."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from chaosd.kernel.errors import UsageError
from chaosd.preflight.evolution.schema import Schemas
from chaosd.process.spawn import Recipe, run

_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Replay:
    """`failures` are the reasons by model, `replayed` the models that both sides could be rebuilt for."""

    failures: dict[str, str]
    replayed: frozenset[str]


def replay(writer: Schemas, reader: Schemas, events: dict[str, list[str]] | None = None) -> Replay:
    """Write with the one, read with the other, in a process of its own. Raises UsageError when it cannot run."""
    request = {"writer": writer.to_json(), "reader": reader.to_json(), "events": events or {}}
    with tempfile.TemporaryDirectory(prefix="chaosd-replay-") as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request), encoding="utf-8")
        log = Path(folder) / "replay.log"
        command = (sys.executable, "-m", "chaosd.preflight.evolution.replay", str(file))
        done = run(Recipe(argv=command, env=dict(os.environ), cwd=folder, log=str(log)), _LIMIT_S)
    try:
        answer = json.loads(done.output)
        failures = {row["model"]: row["error"] for row in answer["failures"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(
            "the replay of schemas did not run", detail=done.output[-2000:], remedy="leave it out with --no-replay"
        ) from error
    return Replay(failures, frozenset(answer["replayed"]))
