"""unknown-enum-member: `EventType.SYSTEM_ERROR`, and the enum has no such member."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import ClassRef
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, hint, vouched_for


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in analysis.record.uses.get(ast.Attribute, []):
        node = use.node
        if not use.source.reported or not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        cls = _enum(analysis, node)
        if cls is not None and not vouched_for(analysis, use, node.attr):
            yield _finding(analysis, use, node, cls)


def _enum(analysis: Analysis, node: ast.Attribute) -> str | None:
    """The enum that lacks the member, when all that the receiver can be are enums that lack it."""
    values = analysis.record.of(node.value)
    classes = [atom.cls for atom in values.atoms if isinstance(atom, ClassRef)]
    if values.open or not classes or len(classes) != len(values.atoms):
        return None
    if all(analysis.shapes.of(cls).is_enum and analysis.shapes.class_lacks(cls, node.attr) for cls in classes):
        return min(classes)
    return None


def _finding(analysis: Analysis, use: Use, node: ast.Attribute, cls: str) -> Finding:
    info = analysis.project.classes[cls]
    members = sorted(analysis.shapes.of(cls).members)
    return Finding(
        path=use.source.path,
        line=node.end_lineno or node.lineno,
        column=(node.end_col_offset or 0) - len(node.attr),
        rule=rule.name,
        message=f"{info.name} has no member {node.attr!r}{hint(nearest(node.attr, members))}",
        symbol=f"{info.name}.{node.attr}",
        defined_at=info.place,
    )


rule = Rule("unknown-enum-member", "a member that its enum does not have", _find)
