"""dlq-without-system-error: what goes to a dead-letter topic is an event of another type than SYSTEM_ERROR."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import ClassRef, Instance, texts
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, at, uses

_DEAD = re.compile(r"(?:^|[^a-z])(?:dlq|dead[_\-.]?letters?)(?:$|[^a-z])", re.IGNORECASE)
_SENDS = frozenset("send send_and_wait publish produce put emit enqueue write".split())
_TYPE_WORDS = frozenset({"type", "event_type"})
_WANTED = "SYSTEM_ERROR"


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Call):
        node = use.node
        if not isinstance(node, ast.Call) or not _goes_to_dead_letters(analysis, node):
            continue
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            made = _made(analysis, use, argument)
            wrong = _wrong_type(analysis, made) if made is not None else None
            if wrong is not None:
                place, name = wrong
                text = f"a dead letter is an event of type {name}, not {_WANTED}: readers of the topic pass over it"
                yield at(rule.name, use, place, text, symbol=name)


def _goes_to_dead_letters(analysis: Analysis, node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if _DEAD.search(name) and any(word in name for word in _SENDS | {"to_"}):
        return True
    if name not in _SENDS or not node.args:
        return False
    constants = texts(analysis.record.of(node.args[0])) or []
    words = [*constants, ast.unparse(node.args[0])] if not isinstance(node.args[0], ast.Call) else constants
    return any(_DEAD.search(word) for word in words)


def _made(analysis: Analysis, use: Use, node: ast.expr) -> ast.Call | None:
    """The construction of the event: in place, inside `encode(…)`, or bound to a name once in the same function."""
    for part in walk(node):
        if isinstance(part, ast.Call) and _is_construction(analysis, part):
            return part
    names = [part.id for part in walk(node) if isinstance(part, ast.Name)]
    bound = [part for part in (walk(use.function.node) if use.function else ()) if isinstance(part, ast.Assign)]
    for name in names:
        made = [part.value for part in bound if any(isinstance(t, ast.Name) and t.id == name for t in part.targets)]
        if len(made) == 1 and isinstance(made[0], ast.Call) and _is_construction(analysis, made[0]):
            return made[0]
    return None


def _is_construction(analysis: Analysis, node: ast.Call) -> bool:
    atoms = analysis.record.of(node.func).atoms
    return any(isinstance(atom, ClassRef) and not analysis.shapes.of(atom.cls).is_enum for atom in atoms)


def _wrong_type(analysis: Analysis, made: ast.Call) -> tuple[ast.expr, str] | None:
    for keyword in made.keywords:
        if keyword.arg in _TYPE_WORDS and isinstance(keyword.value, ast.Attribute):
            atoms = analysis.record.of(keyword.value).atoms
            enums = {atom.cls for atom in atoms if isinstance(atom, Instance) and analysis.shapes.of(atom.cls).is_enum}
            if len(enums) == 1 and keyword.value.attr != _WANTED and _knows_errors(analysis, enums):
                return keyword.value, keyword.value.attr
    return None


def _knows_errors(analysis: Analysis, enums: set[str]) -> bool:
    return all(_WANTED in analysis.shapes.of(cls).members for cls in enums)


rule = Rule("dlq-without-system-error", "a dead letter that is not an event of type SYSTEM_ERROR", _find)
