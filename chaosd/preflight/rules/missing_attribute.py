"""missing-attribute: an attribute is read that no object of the class has."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Container
from chaosd.preflight.rules.lacking import directly_made, filled_by_name, lacking
from chaosd.preflight.rules.rule import Rule, at, gathered, hint, uses, vouched_for


def _find(analysis: Analysis) -> Iterator[Finding]:
    made, filled = gathered(analysis, directly_made), gathered(analysis, filled_by_name)
    called = {id(use.node.func) for use in analysis.record.uses.get(ast.Call, []) if isinstance(use.node, ast.Call)}
    for use in uses(analysis, ast.Attribute):
        node = use.node
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if vouched_for(analysis, use, node.attr):
            continue
        if _is_attribute_of_dict(analysis, node):
            message = f"a dict has no attribute {node.attr!r}, its keys are reached with […]"
            yield at(rule.name, use, node, message, symbol=f"dict.{node.attr}")
        cls = lacking(analysis, use, node, made) if id(node) not in called else None
        if cls is not None and cls not in filled:
            info = analysis.project.classes[cls]
            names = sorted(name for name in analysis.shapes.of(cls).attributes if not name.startswith("__"))
            message = f"{info.name} has no attribute {node.attr!r}{hint(nearest(node.attr, names))}"
            yield at(rule.name, use, node, message, symbol=f"{info.name}.{node.attr}", defined_at=info.place)


def _is_attribute_of_dict(analysis: Analysis, node: ast.Attribute) -> bool:
    values = analysis.record.of(node.value)
    written = [atom for atom in values.atoms if isinstance(atom, Container) and atom.fields is not None]
    return bool(written) and len(written) == len(values.atoms) and not values.open and not hasattr(dict, node.attr)


rule = Rule(
    "missing-attribute",
    "an attribute read that the object's class does not have",
    _find,
    gathers=(directly_made, filled_by_name),
)
