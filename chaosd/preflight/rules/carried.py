"""What `json.dumps` is given, and whether JSON can carry it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Atom, Container, External, Instance, Row, Scalar, Values
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import uses

_DUMPS = frozenset({"json.dumps", "json.dump"})
_CARRIED = frozenset({"str", "int", "float", "bool"})
_JSON_BASES = frozenset(f"builtins.{name}" for name in ("str", "int", "float", "dict", "list", "tuple")) | frozenset(
    f"enum.{name}" for name in ("StrEnum", "IntEnum", "IntFlag")
) | {"typing.TypedDict", "typing_extensions.TypedDict", "typing.NamedTuple"}  # fmt: skip


def dumped(analysis: Analysis, *but: str) -> Iterator[tuple[Use, ast.Call]]:
    """The calls of `json.dumps` and `json.dump`, those with one of the keywords `but` or with `**` left out."""
    for use in uses(analysis, ast.Call):
        node = use.node
        if not isinstance(node, ast.Call) or not node.args:
            continue
        values = analysis.record.of(node.func)
        names = {atom.dotted if isinstance(atom, External) else "" for atom in values.atoms}
        words = {keyword.arg for keyword in node.keywords}
        if names and names <= _DUMPS and not values.open and None not in words and not words & set(but):
            yield use, node


def worst(analysis: Analysis, values: Values, path: str = "") -> tuple[str, str] | None:
    """The place (`["price"]`) and kind of a part that JSON surely cannot carry, None when all may be carried."""
    if values.open or not values.atoms:
        return None
    found = [_worst(analysis, atom, path) for atom in sorted(values.atoms, key=str)]
    known = [item for item in found if item is not None]
    return known[0] if known and len(known) == len(found) else None


def _worst(analysis: Analysis, atom: Atom, path: str) -> tuple[str, str] | None:
    if isinstance(atom, Scalar):
        return None if atom.kind in _CARRIED else (path, atom.kind.rpartition(".")[2])
    if isinstance(atom, Container):
        return _in_container(analysis, atom, path)
    if isinstance(atom, Row):
        parts = (worst(analysis, part, f"{path}[{at}]") for at, part in enumerate(atom.parts))
        return next((part for part in parts if part is not None), None)
    return (path, _class_name(analysis, atom)) if isinstance(atom, Instance) and not _carried(analysis, atom) else None


def _in_container(analysis: Analysis, atom: Container, path: str) -> tuple[str, str] | None:
    if atom.is_set:
        return path, "set"
    if atom.fields is not None:
        for name, values in atom.fields:
            changed = any(analysis.flows.changed(str(origin), name) for origin in atom.origins)
            found = None if changed else worst(analysis, values, f"{path}[{name!r}]")
            if found is not None:
                return found
        return None
    if atom.mapping:
        return worst(analysis, atom.key, f"{path} key") or worst(analysis, atom.item, f"{path}[…]")
    return worst(analysis, atom.item, f"{path}[…]")


def _class_name(analysis: Analysis, atom: Instance) -> str:
    return analysis.project.classes[atom.cls].name


def _carried(analysis: Analysis, atom: Instance) -> bool:
    shape = analysis.shapes.of(atom.cls)
    outside = analysis.project.lineage(atom.cls)[1]
    unknown = any("not known" in why for why in shape.surprises)
    return unknown or any(base in _JSON_BASES for base in outside)


def odd_number(values: Values, path: str = "") -> str | None:
    """The place of a NaN or an infinity among what is dumped."""
    if values.open or not values.atoms:
        return None
    found: str | None = None
    for atom in values.atoms:
        found = None
        if isinstance(atom, Scalar):
            found = path if atom.kind == "float" and atom.nuance == "nan" else None
        elif isinstance(atom, Container) and atom.fields is not None:
            places = (odd_number(part, f"{path}[{name!r}]") for name, part in atom.fields)
            found = next((place for place in places if place is not None), None)
        if found is None:
            return None
    return found
