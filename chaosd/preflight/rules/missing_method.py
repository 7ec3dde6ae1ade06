"""missing-method: a method is called on a collaborator whose class, all bases known, does not have it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Atom, ClassRef, Instance
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, hint, vouched_for


def _find(analysis: Analysis) -> Iterator[Finding]:
    made = _directly_made(analysis)
    for use in analysis.record.uses.get(ast.Call, []):
        if (
            not use.source.reported
            or not isinstance(use.node, ast.Call)
            or not isinstance(use.node.func, ast.Attribute)
        ):
            continue
        called = use.node.func
        cls = _lacking(analysis, use, called, made)
        if cls is not None and not vouched_for(analysis, use, called.attr):
            yield _finding(analysis, use, called, cls)


def _directly_made(analysis: Analysis) -> set[str]:
    """Classes that the product itself calls: objects of exactly those exist."""
    return {
        atom.cls
        for use in analysis.record.uses.get(ast.Call, [])
        if not use.source.is_test
        for atom in analysis.record.of(use.node).atoms
        if isinstance(atom, Instance) and atom.exact
    }


def _lacking(analysis: Analysis, use: Use, called: ast.Attribute, made: set[str]) -> str | None:
    """The class that has no such method, None when there is any doubt."""
    values = analysis.record.of(called.value)
    lacking = [atom for atom in values.atoms if _lacks(analysis, atom, called.attr, made)]
    if not lacking:
        return None
    whole = len(lacking) == len(values.atoms) and not values.open
    if not whole and not _surely_passed(analysis, use, called.value, set(lacking)):
        return None
    return min(atom.cls for atom in lacking if isinstance(atom, Instance | ClassRef))


def _lacks(analysis: Analysis, atom: Atom, name: str, made: set[str]) -> bool:
    if not isinstance(atom, Instance | ClassRef):
        return False
    shapes, shape = analysis.shapes, analysis.shapes.of(atom.cls)
    if shape.is_protocol or not shape.lacks(name):
        return False
    inherited = isinstance(atom, ClassRef) and not atom.exact
    if isinstance(atom, ClassRef) and (shape.is_enum or not shapes.class_lacks(atom.cls, name)):
        return False
    if (inherited or (isinstance(atom, Instance) and atom.own)) and atom.cls not in made:
        return False  # a mixin or an abstract base: what it is mixed into may bring the method
    return atom.exact or all(below.lacks(name) for below in shapes.below(atom.cls))


def _surely_passed(analysis: Analysis, use: Use, receiver: ast.expr, lacking: set[Atom]) -> bool:
    """The receiver is a parameter, used on every way through the function, and one call passes just such an object."""
    if not use.certain or use.function is None or not isinstance(receiver, ast.Name):
        return False
    key = ("parameter", use.function.key, receiver.id)
    fed = analysis.flows.product.get(key)
    if fed is None or fed.atoms != analysis.record.of(receiver).atoms:
        return False
    passed = [values for _, values in analysis.flows.sites.get(key, ())]
    return any(values.atoms and not values.open and values.atoms <= lacking for values in passed)


def _finding(analysis: Analysis, use: Use, called: ast.Attribute, cls: str) -> Finding:
    info = analysis.project.classes[cls]
    shape = analysis.shapes.of(cls)
    methods = [name for name in shape.attributes if not name.startswith("__")]
    return Finding(
        path=use.source.path,
        line=called.end_lineno or called.lineno,
        column=(called.end_col_offset or 0) - len(called.attr),
        rule=rule.name,
        message=f"{info.name} has no method {called.attr!r}{hint(nearest(called.attr, sorted(methods)))}",
        symbol=f"{info.name}.{called.attr}",
        defined_at=info.place,
    )


rule = Rule("missing-method", "a method called on an object whose class does not have it", _find)
