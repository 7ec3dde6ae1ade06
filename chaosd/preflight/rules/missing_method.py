"""missing-method: a method is called on a collaborator whose class, all bases known, does not have it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Scalar
from chaosd.preflight.rules.lacking import directly_made, filled_by_name, lacking
from chaosd.preflight.rules.rule import Rule, at, gathered, hint, uses, vouched_for

_BUILTIN: dict[str, type] = {"str": str, "int": int, "bytes": bytes}


def _find(analysis: Analysis) -> Iterator[Finding]:
    made, filled = gathered(analysis, directly_made), gathered(analysis, filled_by_name)
    for use in uses(analysis, ast.Call):
        if not isinstance(use.node, ast.Call) or not isinstance(use.node.func, ast.Attribute):
            continue
        called = use.node.func
        if vouched_for(analysis, use, called.attr):
            continue
        cls = lacking(analysis, use, called, made)
        if cls is not None and cls not in filled:
            info = analysis.project.classes[cls]
            methods = sorted(name for name in analysis.shapes.of(cls).attributes if not name.startswith("__"))
            message = f"{info.name} has no method {called.attr!r}{hint(nearest(called.attr, methods))}"
            yield at(rule.name, use, called, message, symbol=f"{info.name}.{called.attr}", defined_at=info.place)
        kind = _builtin(analysis, called)
        if kind is not None:
            message = f"{kind} has no method {called.attr!r}{hint(nearest(called.attr, dir(_BUILTIN[kind])))}"
            yield at(rule.name, use, called, message, symbol=f"{kind}.{called.attr}")


def _builtin(analysis: Analysis, called: ast.Attribute) -> str | None:
    """The builtin type that has no such method; what Redis gives is the matter of decode-mode."""
    values = analysis.record.of(called.value)
    atoms = [atom for atom in values.atoms if isinstance(atom, Scalar) and atom.origin is None]
    kinds = {atom.kind for atom in atoms}
    if values.open or not kinds or len(atoms) != len(values.atoms) or not kinds <= _BUILTIN.keys():
        return None
    return min(kinds) if not any(hasattr(_BUILTIN[kind], called.attr) for kind in kinds) else None


rule = Rule(
    "missing-method",
    "a method called on an object whose class does not have it",
    _find,
    gathers=(directly_made, filled_by_name),
)
