"""Which objects the product itself passes to a place: the evidence that a rule about a type needs."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from chaosd.preflight.index.declared import ClassInfo, FunctionInfo
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.values import Instance, Site, Values
from chaosd.preflight.infer.world import Key, Use


def fed_to(analysis: Analysis, use: Use, node: ast.expr) -> Values | None:
    """What the product passes to the parameter, or stores in the attribute, that an expression names."""
    if isinstance(node, ast.Name) and use.function is not None:
        return analysis.flows.product.get(("parameter", use.function.key, node.id))
    if isinstance(node, ast.Attribute):
        for atom in analysis.record.of(node.value).atoms:
            if isinstance(atom, Instance):
                for info in analysis.project.lineage(atom.cls)[0]:
                    found = analysis.flows.product.get(("attribute", info.key, node.attr))
                    if found is not None:
                        return found
    return None


def protocols(analysis: Analysis, modules: Collection[str]) -> Iterator[tuple[ClassInfo, Key]]:
    """The places in some modules that are annotated with a protocol of the project: parameters and fields."""
    for function in analysis.project.functions.values():
        if function.source.module not in modules:
            continue
        spec = function.node.args
        for item in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs):
            found = _protocol(analysis, function, item.annotation)
            if found is not None:
                yield found, ("parameter", function.key, item.arg)
    for info in analysis.project.classes.values():
        for name, node in info.fields.items() if info.source.module in modules else ():
            for atom in _promised(analysis, info.source.module, node.annotation):
                if analysis.shapes.of(atom.cls).is_protocol:
                    yield analysis.project.classes[atom.cls], ("attribute", info.key, name)


def _protocol(analysis: Analysis, function: FunctionInfo, annotation: ast.expr | None) -> ClassInfo | None:
    for atom in _promised(analysis, function.source.module, annotation):
        if analysis.shapes.of(atom.cls).is_protocol:
            return analysis.project.classes[atom.cls]
    return None


def _promised(analysis: Analysis, module: str, annotation: ast.expr | None) -> list[Instance]:
    said = promised(analysis.project, module, annotation) if annotation is not None else None
    atoms = said.atoms if said is not None else frozenset()
    return [atom for atom in atoms if isinstance(atom, Instance)] if len(atoms) == 1 else []


def passed(analysis: Analysis, key: Key) -> Iterator[tuple[Site, str]]:
    """The sites of the product that pass objects of exactly one class to a place, with that class."""
    for site, values in sorted(analysis.flows.sites.get(key, ()), key=lambda pair: (pair[0].path, pair[0].line)):
        exact = [atom.cls for atom in values.atoms if isinstance(atom, Instance) and atom.exact]
        if len(exact) == 1 and len(values.atoms) == 1 and not values.open:
            yield site, exact[0]


def methods_of(analysis: Analysis, protocol: ClassInfo) -> dict[str, FunctionInfo] | None:
    """The public methods that a protocol asks for; None when it has bases that are not known."""
    chain, outside = analysis.project.lineage(protocol.key)
    if any(base is None or base.rpartition(".")[2] not in {"Protocol", "Generic", "object"} for base in outside):
        return None
    found: dict[str, FunctionInfo] = {}
    for info in reversed(chain):
        found.update({name: method for name, method in info.methods.items() if not name.startswith("_")})
    return found


def is_reported(analysis: Analysis, path: str) -> bool:
    """Whether a path belongs to what was asked for."""
    return any(d.source.path == path and d.source.reported for d in analysis.project.modules.values())
