"""Whether a reader of one schema understands what a writer of another wrote: by rule, with the reason.

pydantic's lax reading of JSON is what the rules describe; `oracle.py` replays the same on the models themselves.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from chaosd.preflight.evolution.schema import FieldSchema, ModelSchema, Schemas

_WIDER = {  # what else a type reads without loss, from the JSON that another one is written as
    "float": {"int"},
    "Decimal": {"int", "float"},
    "str": {"Decimal", "datetime", "date", "time", "UUID", "AwareDatetime", "NaiveDatetime", "Path"},
    "datetime": {"AwareDatetime", "NaiveDatetime"},
    "int": {"bool"},
}
_KNOWN = set(_WIDER) | {"bool", "bytes", "date", "time", "timedelta", "UUID", "AwareDatetime", "NaiveDatetime", "Path"}
_LISTS = frozenset({"list", "List", "set", "Set", "frozenset", "FrozenSet", "Sequence", "tuple", "Tuple"})
_DICTS = frozenset({"dict", "Dict", "Mapping"})
_UPPER = frozenset({"lt", "le", "max_length"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reader fails: at which field of which model (by key), of which side."""

    model: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Sides:
    writer: Schemas
    reader: Schemas


def problems(writer: Schemas, reader: Schemas, key: str) -> list[Problem]:
    """What a reader of the model `key` cannot read of what a writer wrote; none when either side has no such model."""
    old, new = writer.models.get(key), reader.models.get(key)
    if old is None or new is None:
        return []
    sides = _Sides(writer, reader)
    found: list[Problem] = []
    read: set[str] = set()
    for field in new.fields:
        source = next((one for one in old.fields if _is_read_by(one, new, field)), None)
        if source is None:
            if field.required:
                found.append(Problem(key, field.name, f"needs {field.name!r}, which is not written"))
            continue
        read.add(source.name)
        reason = _type(sides, source.type, field.type) or _constraints(source, field)
        if reason:
            found.append(Problem(key, field.name, reason))
    if new.extra == "forbid":
        unread = (one.name for one in old.fields if one.name not in read)
        found += [Problem(key, name, f"forbids {name!r}, which is written") for name in unread]
    return found


def _is_read_by(written: FieldSchema, model: ModelSchema, field: FieldSchema) -> bool:
    """Fields are written by name. Where both sides have the same alias, that is what travels: `by_alias=True`."""
    if field.alias is None:
        return written.name == field.name
    accepted = {field.alias, field.name} if model.by_name else {field.alias}
    return written.name in accepted or written.alias == field.alias


def _constraints(old: FieldSchema, new: FieldSchema) -> str:
    for name, limit in new.constraints.items():
        before = old.constraints.get(name)
        if before == limit:
            continue
        if isinstance(before, int | float) and isinstance(limit, int | float) and _looser(name, before, limit):
            continue
        return f"demands {name}={limit!r}{f', {before!r} was allowed' if before is not None else ''}"
    return ""


def _looser(name: str, before: float, limit: float) -> bool:
    return limit >= before if name in _UPPER else limit <= before and name != "multiple_of"


def _alternatives(text: str) -> list[ast.expr]:
    waiting, found = [ast.parse(text, mode="eval").body], list[ast.expr]()
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.BinOp):
            waiting[:0] = [node.left, node.right]
        else:
            found.append(node)
    return found


def _type(sides: _Sides, written: str, read: str) -> str:
    """Why values of one type are not read as another; empty when they are, or when it is not known."""
    if written == read and not _names(sides, written):
        return ""
    wanted = _alternatives(read)
    for part in _alternatives(written):
        reasons = [_one(sides, part, other) for other in wanted]
        if all(reasons):
            is_none = isinstance(part, ast.Constant) and part.value is None
            return "does not take null" if is_none else reasons[0]
    return ""


def _names(sides: _Sides, text: str) -> bool:
    """Whether a type names a model or an enum: what those hold may have changed under the same name."""
    for side in (sides.writer, sides.reader):
        known = [model.identifier for model in side.models.values()] + [enum.identifier for enum in side.enums.values()]
        if any(name in text for name in known):
            return True
    return False


def _one(sides: _Sides, written: ast.expr, read: ast.expr) -> str:
    old, new = ast.unparse(written), ast.unparse(read)
    if new in {"Any", "object"}:
        return ""
    literal = _values(sides.reader, new)
    values = _values(sides.writer, old)
    if literal is not None:
        if values is None:
            return f"reads {_short(new)}, {_short(old)} is written"
        unknown = [value for value in values if value not in literal]
        return f"does not know {', '.join(map(repr, unknown))}" if unknown else ""
    if values is not None:
        kinds = {type(value).__name__ for value in values}
        return "" if kinds == {new} else f"reads {_short(new)}, {_short(old)} is written"
    models = _model(sides.writer, old), _model(sides.reader, new)
    if models[0] is not None and models[0] == models[1]:
        inner = problems(sides.writer, sides.reader, models[0])
        return f"{inner[0].field} inside: {inner[0].reason}" if inner and old == new else ""
    if isinstance(written, ast.Subscript) and isinstance(read, ast.Subscript):
        return _generic(sides, written, read)
    if old == new:
        return ""
    if old == "Decimal" and new == "float":
        return "reads float, the exact Decimal is rounded"
    if old in _KNOWN and new in _KNOWN:
        return "" if old in _WIDER.get(new, set()) else f"reads {new}, {old} is written"
    plain = old in _KNOWN or new in _KNOWN or old == "None" or new == "None"
    return f"reads {_short(new)}, {_short(old)} is written" if plain and "Any" not in old else ""


def _generic(sides: _Sides, written: ast.Subscript, read: ast.Subscript) -> str:
    outer = ast.unparse(written.value), ast.unparse(read.value)
    same = outer[0] == outer[1] or set(outer) <= _LISTS or set(outer) <= _DICTS
    if not same:
        return f"reads {outer[1]}, {outer[0]} is written"
    parts = [list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice] for node in (written, read)]
    if len(parts[0]) == len(parts[1]):
        for old, new in zip(*parts, strict=True):
            reason = _type(sides, ast.unparse(old), ast.unparse(new))
            if reason:
                return f"{reason} (inside {outer[1]})"
    return ""


def _values(schemas: Schemas, text: str) -> list[object] | None:
    for enum in schemas.enums.values():
        if enum.identifier == text:
            return list(enum.members.values())
    if text.startswith("Literal["):
        node = ast.parse(text, mode="eval").body
        items = node.slice if isinstance(node, ast.Subscript) else node
        parts = items.elts if isinstance(items, ast.Tuple) else [items]
        return [part.value for part in parts if isinstance(part, ast.Constant)]
    return None


def _model(schemas: Schemas, text: str) -> str | None:
    return next((key for key, model in schemas.models.items() if model.identifier == text), None)


def _short(text: str) -> str:
    return text.rpartition("_")[2] or text
