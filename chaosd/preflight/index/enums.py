"""The members of an enum with their values, as far as they are constants."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from chaosd.preflight.index.declared import ClassInfo, dotted
from chaosd.preflight.index.project import Project

_AUTO = frozenset({"auto", "enum.auto"})


@dataclass(frozen=True, slots=True)
class Members:
    """`names` in the order of the source, aliases included. `values` is None where any of them is computed."""

    names: tuple[str, ...]
    values: tuple[object, ...] | None
    text: bool

    def name_of(self, value: object) -> str | None:
        """The member that has a value."""
        pairs = zip(self.names, self.values or (), strict=False)
        return next((name for name, own in pairs if own == value and type(own) is type(value)), None)


def members(project: Project, key: str) -> Members | None:
    """The members of an enum; None when there may be others (`_missing_`, a base that is not known)."""
    if ("members", key) not in project.notes:
        project.notes["members", key] = _members(project, key)
    found = project.notes["members", key]
    return found if isinstance(found, Members) else None


def _members(project: Project, key: str) -> Members | None:
    chain, outside = project.lineage(key)
    names: list[str] = []
    values: list[object] = []
    computed = "builtins.str" in outside and "enum.Enum" not in outside
    text = "enum.StrEnum" in outside or "builtins.str" in outside
    for info in reversed(chain):
        if "_missing_" in info.methods or "__new__" in info.methods or "_generate_next_value_" in info.methods:
            return None
        if info.node.end_lineno is None or _is_functional(info):
            return None
        for name, value in _written(info):
            names.append(name)
            if isinstance(value, ast.Constant):
                values.append(value.value)
            elif isinstance(value, ast.Call) and dotted(value.func) in _AUTO and "enum.StrEnum" in outside:
                values.append(name.lower())
            else:
                computed = True
    return Members(tuple(names), None if computed else tuple(values), text)


def _is_functional(info: ClassInfo) -> bool:
    return (
        not info.node.body
        or not hasattr(info.node.body[0], "end_lineno")
        or (isinstance(info.node.body[0], ast.Expr) and (isinstance(info.node.body[0].value, ast.Call)))
    )


def _written(info: ClassInfo) -> list[tuple[str, ast.expr]]:
    found: list[tuple[str, ast.expr]] = []
    for node in info.node.body:
        target, value = None, None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        if isinstance(target, ast.Name) and value is not None and not target.id.startswith("_"):
            found.append((target.id, value))
    return found
