"""Whether an object surely lacks an attribute: shared by missing-method and missing-attribute."""

from __future__ import annotations

import ast
from collections.abc import Set as AbstractSet

from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Atom, ClassRef, External, Instance
from chaosd.preflight.infer.world import Use


def directly_made(analysis: Analysis) -> set[str]:
    """Classes that the product itself calls: objects of exactly those exist."""
    return {
        atom.cls
        for use in analysis.record.uses.get(ast.Call, [])
        if not use.source.is_test
        for atom in analysis.record.of(use.node).atoms
        if isinstance(atom, Instance) and atom.exact
    }


def filled_by_name(analysis: Analysis) -> set[str]:
    """Classes whose objects get attributes by a computed name, with `setattr` or through `__dict__`, from anywhere."""
    found: set[str] = set()
    for use in analysis.record.uses.get(ast.Call, []):
        node = use.node
        if not isinstance(node, ast.Call) or len(node.args) < 2 or isinstance(node.args[1], ast.Constant):
            continue
        names = {atom.dotted for atom in analysis.record.of(node.func).atoms if isinstance(atom, External)}
        if "builtins.setattr" in names:
            found.update(_classes(analysis, node.args[0]))
    for use in analysis.record.uses.get(ast.Attribute, []):
        if isinstance(use.node, ast.Attribute) and use.node.attr == "__dict__":
            found.update(_classes(analysis, use.node.value))
    return found


def _classes(analysis: Analysis, node: ast.expr) -> set[str]:
    own = {atom.cls for atom in analysis.record.of(node).atoms if isinstance(atom, Instance | ClassRef)}
    return own.union(*(analysis.project.subclasses.get(cls, set()) for cls in own))


def lacking(analysis: Analysis, use: Use, named: ast.Attribute, made: AbstractSet[str]) -> str | None:
    """The class that has no such attribute, None when there is any doubt."""
    values = analysis.record.of(named.value)
    without = [atom for atom in values.atoms if _lacks(analysis, atom, named.attr, made)]
    if not without:
        return None
    whole = len(without) == len(values.atoms) and not values.open
    if not whole and not _surely_passed(analysis, use, named.value, set(without)):
        return None
    return min(atom.cls for atom in without if isinstance(atom, Instance | ClassRef))


def _lacks(analysis: Analysis, atom: Atom, name: str, made: AbstractSet[str]) -> bool:
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


def _surely_passed(analysis: Analysis, use: Use, receiver: ast.expr, without: set[Atom]) -> bool:
    """The receiver is a parameter, used on every way through the function, and one call passes just such an object."""
    if not use.certain or use.function is None or not isinstance(receiver, ast.Name):
        return False
    key = ("parameter", use.function.key, receiver.id)
    fed = analysis.flows.product.get(key)
    if fed is None or fed.atoms != analysis.record.of(receiver).atoms:
        return False
    passed = [values for _, values in analysis.flows.sites.get(key, ())]
    return any(values.atoms and not values.open and values.atoms <= without for values in passed)
