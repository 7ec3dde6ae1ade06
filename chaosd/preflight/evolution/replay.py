"""Runs in a process of its own: rebuilds old and new models from their schemas with pydantic, and replays events.

Reads a JSON object on its file argument and prints one.
{"writer": …, "reader": …}: the writer's models write events with the boundaries of each type, the reader's read them.
{"recorded": [[key, text], …], "reader": …}: the reader's models read what was recorded.
The answer is {"failures": [{"model", "at", "error"}], "replayed": [key, …]}; `at` counts recorded events from 0.
A value that arrives with another type or text than it was written with is a failure too: `==` alone would call
`1 == True` the same.
"""

from __future__ import annotations

import enum
import json
import re
import sys
import typing
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NaiveDatetime,
    TypeAdapter,
    ValidationError,
    create_model,
)

_MOMENT = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
BOUNDARIES: dict[Any, list[Any]] = {
    str: ["", "x", "\u00e4\u4e2d\U0001f600"],
    int: [0, -1, 2**63],
    float: [0.0, -1.5, 1e300],
    bool: [True, False],
    bytes: [b"", b"x"],
    Decimal: [Decimal("0.10"), Decimal("-12345678901234567890.123456789")],
    datetime: [_MOMENT],
    AwareDatetime: [_MOMENT],
    NaiveDatetime: [_MOMENT.replace(tzinfo=None)],
    date: [date(2024, 2, 29)],
    time: [time(23, 59, 59)],
    timedelta: [timedelta(seconds=1)],
    uuid.UUID: [uuid.UUID(int=1)],
    Path: [Path("a/b")],
    type(None): [None],
    Any: ["x"],
    object: ["x"],
}


def build(schemas: dict[str, Any]) -> dict[str, type[BaseModel]]:
    """The models by their key; those whose types cannot be rebuilt are left out."""
    scope: dict[str, Any] = {
        name: getattr(typing, name) for name in ("Any", "List", "Dict", "Set", "Literal", "Sequence")
    }
    scope |= {"Decimal": Decimal, "datetime": datetime, "date": date, "time": time, "timedelta": timedelta}
    scope |= {"UUID": uuid.UUID, "AwareDatetime": AwareDatetime, "NaiveDatetime": NaiveDatetime, "Path": Path}
    for one in schemas["enums"].values():
        scope[one["identifier"]] = enum.Enum(one["name"], one["members"])
    waiting, built = dict(schemas["models"]), dict[str, type[BaseModel]]()
    while waiting:
        before = len(waiting)
        for key, model in list(waiting.items()):
            names = {name for field in model["fields"] for name in re.findall(r"\w+", field["type"])}
            if any(other["identifier"] in names for name, other in waiting.items() if name != key):
                continue
            del waiting[key]
            made = _model(model, scope)
            if made is not None:
                built[key] = scope[model["identifier"]] = made
        if len(waiting) == before:
            break  # models that name each other in a circle
    return built


def _model(model: dict[str, Any], scope: dict[str, Any]) -> type[BaseModel] | None:
    fields: dict[str, Any] = {}
    try:
        for field in model["fields"]:
            words: dict[str, Any] = dict(field["constraints"])
            if field["alias"]:
                words["alias"] = field["alias"]
            if not field["required"]:
                words["default"] = None
            kind = eval(field["type"], {}, scope)  # noqa: S307 -- a type expression that chaosd itself wrote
            fields[field["name"]] = (kind, Field(**words))
        config = ConfigDict(extra=model["extra"], populate_by_name=model["by_name"])
        made: type[BaseModel] = create_model(model["name"], __config__=config, **fields)
    except (NameError, TypeError, SyntaxError, ValueError, AttributeError):
        return None
    return made


def values(kind: Any, depth: int = 0) -> list[Any]:
    """Values of a type, its boundaries among them; none when the type is not known."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in BOUNDARIES:
        return BOUNDARIES[kind]
    if origin is typing.Literal:
        return list(inner)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel) and depth < 3:
        return examples(kind, depth + 1)[:2]
    if origin in {list, set, frozenset} or kind in {list, set}:
        return [[], *([values(inner[0], depth)[:1]] if inner else [])]
    if origin is dict or kind is dict:
        return [{}]
    return [value for part in inner for value in values(part, depth)] if inner else []


def examples(model: type[BaseModel], depth: int = 0) -> list[Any]:
    """Objects of a model: each field goes through all its values, the others held."""
    pools = {
        name: [v for v in values(field.annotation, depth) if _fits(field, v)]
        for name, field in model.model_fields.items()
    }
    if not all(pools.values()):
        return []
    first = {name: pool[0] for name, pool in pools.items()}
    rows = [first, *({**first, name: value} for name, pool in pools.items() for value in pool[1:])]
    return [model.model_construct(**row) for row in rows]


def _fits(field: Any, value: Any) -> bool:
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    try:
        TypeAdapter[Any](kind).validate_python(value)
    except ValidationError:
        return False
    return True


def replayed(writer: type[BaseModel], reader: type[BaseModel]) -> str | None:
    """Why the reader fails on what the writer wrote, None when it does not."""
    aliases = {field.alias for field in reader.model_fields.values()} - {None}
    shared = any(field.alias in aliases for field in writer.model_fields.values())
    texts = (one.model_dump_json(warnings=False, by_alias=shared) for one in examples(writer))
    return next((error for text in texts if (error := misread(reader, text, by_alias=shared))), None)


def misread(reader: type[BaseModel], text: str, *, by_alias: bool) -> str | None:
    """Why the reader fails on one event, None when it does not."""
    try:
        read = reader.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    sent, back = json.loads(text), json.loads(read.model_dump_json(warnings=False, by_alias=by_alias))
    for name in sent.keys() & back.keys():
        if _lossy(sent[name], back[name]):
            return f"{name}: {sent[name]!r} came back as {back[name]!r}"
    return None


def _lossy(sent: Any, back: Any) -> bool:
    """An exact decimal text came back as a binary number; numbers that only changed their form are the same."""
    if not isinstance(sent, str) or isinstance(back, bool):
        return False
    return isinstance(back, float) or (isinstance(back, int) and sent.strip() != str(back))


def main() -> None:
    """Replay, and print what failed."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    readers = build(request["reader"])
    if "recorded" in request:
        known = set(readers)
        rows = [(at, key, text) for at, (key, text) in enumerate(request["recorded"]) if key in known]
        errors = [(at, key, misread(readers[key], text, by_alias=True)) for at, key, text in rows]
    else:
        writers = build(request["writer"])
        known = writers.keys() & readers.keys()
        errors = [(0, key, replayed(writers[key], readers[key])) for key in sorted(known)]
    failures = [{"model": key, "at": at, "error": error} for at, key, error in errors if error is not None]
    sys.stdout.write(json.dumps({"failures": failures, "replayed": sorted(known)}))


if __name__ == "__main__":
    main()
