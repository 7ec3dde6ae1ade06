"""override-signature: a call that fits the base's method, and not the override of an object that is passed there."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import FunctionInfo
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import FunctionRef, Instance
from chaosd.preflight.infer.world import Use, World
from chaosd.preflight.rules.call_signature import function_misfit, place_of, shown
from chaosd.preflight.rules.evidence import fed_to
from chaosd.preflight.rules.rule import Rule, uses, vouched_for


def _find(analysis: Analysis) -> Iterator[Finding]:
    world = World(analysis.project, analysis.shapes)
    for use in uses(analysis, ast.Call):
        node = use.node
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if vouched_for(analysis, use, node.func.attr):
            continue
        refs = {atom.function for atom in analysis.record.of(node.func).atoms if isinstance(atom, FunctionRef)}
        for given in _reached(analysis, world, use, node.func):
            base = _overridden(analysis, given)
            if base is None or (refs and refs == {given.key}):
                continue
            problem = function_misfit(analysis, given, node, skip=1)
            if problem and function_misfit(analysis, base, node, skip=1) is None and given.source.reported:
                text = (
                    f"{shown(analysis, given)} {problem}, unlike {shown(analysis, base)}: see the call at {_site(use)}"
                )
                yield Finding(
                    given.source.path, given.node.lineno, given.node.col_offset, rule.name, text,
                    symbol=shown(analysis, given), defined_at=place_of(base),
                )  # fmt: skip


def _site(use: Use) -> str:
    return f"{use.source.path}:{getattr(use.node, 'lineno', 1)}"


def _reached(analysis: Analysis, world: World, use: Use, called: ast.Attribute) -> Iterator[FunctionInfo]:
    """The methods of the objects that the product really passes to the receiver."""
    fed = fed_to(analysis, use, called.value)
    atoms = set(fed.atoms) if fed is not None else set()
    atoms |= analysis.record.of(called.value).atoms
    for atom in sorted(atoms, key=str):
        if isinstance(atom, Instance) and atom.exact:
            method = world.method(atom.cls, called.attr)
            if method is not None and not method.is_static and not method.is_class_method and not method.is_property:
                yield method


def _overridden(analysis: Analysis, method: FunctionInfo) -> FunctionInfo | None:
    for info in analysis.project.lineage(method.cls or "")[0][1:] if method.cls else []:
        if method.name in info.methods:
            return info.methods[method.name]
    return None


rule = Rule(
    "override-signature", "an override that cannot be called like the method it replaces", _find, one_per_place=True
)
