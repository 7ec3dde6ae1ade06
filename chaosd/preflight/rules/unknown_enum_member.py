"""unknown-enum-member: `EventType.SYSTEM_ERROR`, and the enum has no such member."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import ClassRef, External, texts
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, at, hint, uses, vouched_for


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Attribute):
        node = use.node
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and not vouched_for(analysis, use, node.attr)
        ):
            yield from _lacking(analysis, use, node, node.value, node.attr)
    for use in uses(analysis, ast.Subscript):
        node = use.node
        names = texts(analysis.record.of(node.slice)) if isinstance(node, ast.Subscript) else None
        if isinstance(node, ast.Subscript) and names is not None and len(names) == 1:
            yield from _lacking(analysis, use, node, node.value, names[0])
    for use in uses(analysis, ast.Call):
        node = use.node
        if isinstance(node, ast.Call) and len(node.args) == 2 and _is_getattr(analysis, node):
            names = texts(analysis.record.of(node.args[1]))
            if names is not None and len(names) == 1 and not vouched_for(analysis, use, names[0]):
                yield from _lacking(analysis, use, node, node.args[0], names[0])


def _is_getattr(analysis: Analysis, node: ast.Call) -> bool:
    return {atom.dotted for atom in analysis.record.of(node.func).atoms if isinstance(atom, External)} == {
        "builtins.getattr"
    }


def _lacking(analysis: Analysis, use: Use, node: ast.expr, receiver: ast.expr, name: str) -> Iterator[Finding]:
    """The enum that lacks the member, when all that the receiver can be are enums that lack it."""
    values = analysis.record.of(receiver)
    classes = [atom.cls for atom in values.atoms if isinstance(atom, ClassRef)]
    if values.open or not classes or len(classes) != len(values.atoms):
        return
    shapes = [analysis.shapes.of(cls) for cls in classes]
    if not all(s.is_enum and analysis.shapes.class_lacks(cls, name) for s, cls in zip(shapes, classes, strict=True)):
        return
    info = analysis.project.classes[min(classes)]
    members = sorted(analysis.shapes.of(info.key).members)
    text = f"{info.name} has no member {name!r}{hint(nearest(name, members))}"
    yield at(rule.name, use, node, text, symbol=f"{info.name}.{name}", defined_at=info.place)


rule = Rule("unknown-enum-member", "a member that its enum does not have", _find)
