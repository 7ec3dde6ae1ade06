"""Recorded and golden events: JSON Lines, each with the model that wrote it and what it wrote.

{"model": "events:Tick", "event": {"price": "0.10"}}

`model` is `module:Class` as in a snapshot, or the bare name of a class where only one model has it. `event` is the
object, or a string that holds its JSON exactly as it was sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaosd.kernel.errors import SourceError, UsageError, nearest
from chaosd.preflight.evolution.schema import Schemas

_EXPECTED = '{"model": "module:Class", "event": {…}}'
_SHOWN_MAX = 60  # characters of a line in an error
EVENTS_MAX = 200_000  # they are replayed within the limit of one process


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event: `text` is what the model of that key, `module:Class`, is to read; `line` counts from 1."""

    file: str
    line: int
    model: str
    text: str


def load(files: Sequence[Path], today: Schemas) -> list[Recorded]:
    """All events, in order; empty lines are passed over. Raises SourceError with file and line, and UsageError."""
    keys = _keys(today)
    found: list[Recorded] = []
    for file in files:
        for number, text in _lines(file):
            if len(found) == EVENTS_MAX:
                raise SourceError(
                    "too many recorded events", file=str(file), line=number, expected=f"at most {EVENTS_MAX} in all"
                )
            found.append(_event(str(file), number, text, keys))
    return found


def _keys(today: Schemas) -> dict[str, str]:
    """The key of each model by its key and, where that is unique, by its bare name."""
    names = [model.name for model in today.models.values()]
    bare = {model.name: key for key, model in today.models.items() if names.count(model.name) == 1}
    return bare | {key: key for key in today.models}


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with file.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    text = raw.decode("utf-8").strip()
                except UnicodeDecodeError as error:
                    raise SourceError(f"not UTF-8: {error.reason}", file=str(file), line=number) from error
                if text:
                    yield number, text
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", remedy="name a file of events, one a line") from error


def _event(file: str, line: int, text: str, keys: Mapping[str, str]) -> Recorded:
    shown = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    try:
        row: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"not JSON: {error}", file=file, line=line, expected=_EXPECTED, found=shown) from error
    if not isinstance(row, dict) or row.keys() != {"model", "event"}:
        raise SourceError("not a recorded event", file=file, line=line, expected=_EXPECTED, found=shown)
    name, event = row["model"], row["event"]
    if not isinstance(name, str) or name not in keys:
        raise SourceError(
            "no such model in the source",
            file=file,
            line=line,
            path="model",
            expected="module:Class of a model, or the name of a class that only one model has",
            found=repr(name),
            nearest=nearest(name, keys) if isinstance(name, str) else None,
        )
    if not isinstance(event, dict | str):
        raise SourceError(
            "not an event",
            file=file,
            line=line,
            path="event",
            expected="an object, or its JSON as a string",
            found=json.dumps(event),
        )
    return Recorded(file, line, keys[name], event if isinstance(event, str) else json.dumps(event))
