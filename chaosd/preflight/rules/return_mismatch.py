"""return-mismatch: a function returns what it does not promise, for certain."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.values import Atom, Container, Instance, Row, Scalar
from chaosd.preflight.rules.rule import Rule, at, uses

_PLAIN = frozenset({"staticmethod", "classmethod", "property", "override", "final", "abstractmethod"})
_ALSO = {
    "float": {"int", "bool", "float"},
    "int": {"int", "bool"},
    "datetime.date": {"datetime.date", "datetime.datetime"},
}


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Return):
        function, node = use.function, use.node
        if function is None or not isinstance(node, ast.Return) or node.value is None or function.node.returns is None:
            continue
        if any(name.rpartition(".")[2] not in _PLAIN for name in function.decorators):
            continue
        said = promised(analysis.project, use.source.module, function.node.returns)
        values = analysis.record.of(node.value)
        if said is None or said.open or not said.atoms or values.open or not values.atoms:
            continue
        if any(_is_sequence_of(function.node.returns, atom) for atom in values.atoms):
            pass
        elif any(_fits(analysis, atom, wanted) for atom in values.atoms for wanted in said.atoms):
            continue
        given = ", ".join(sorted({_name(analysis, atom) for atom in values.atoms}))
        text = f"{function.name}() promises {ast.unparse(function.node.returns)} and returns {given}"
        yield at(rule.name, use, node, text, symbol=function.key.partition(":")[2])


def _is_sequence_of(annotation: ast.expr, atom: Atom) -> bool:
    """A dict where a list, tuple or set is promised by its own name; as Iterable or Collection a dict may pass."""
    outer = ast.unparse(annotation).partition("[")[0].rpartition(".")[2]
    sequence = outer in {"list", "List", "tuple", "Tuple", "set", "Set", "frozenset"}
    return sequence and isinstance(atom, Container) and atom.mapping and "|" not in ast.unparse(annotation)


def _fits(analysis: Analysis, atom: Atom, wanted: Atom) -> bool:
    """Whether a value may be what was promised; in doubt it may."""
    if isinstance(atom, Scalar) and isinstance(wanted, Scalar):
        return atom.origin is not None or atom.kind in _ALSO.get(wanted.kind, {wanted.kind})
    if isinstance(atom, Container | Row) and isinstance(wanted, Container | Row):
        mapping = isinstance(atom, Container) and atom.mapping
        return mapping or not (isinstance(wanted, Container) and wanted.mapping)
    if isinstance(atom, Instance) and isinstance(wanted, Instance):
        return _related(analysis, atom.cls, wanted.cls)
    if isinstance(atom, Instance) or isinstance(wanted, Instance):
        cls = atom.cls if isinstance(atom, Instance) else wanted.cls if isinstance(wanted, Instance) else ""
        shape = analysis.shapes.of(cls)
        builtin = any((base or "").startswith(("builtins.", "typing.")) for base in analysis.project.lineage(cls)[1])
        other = wanted if isinstance(atom, Instance) else atom
        known = isinstance(other, Scalar | Container | Row)
        return not known or bool(shape.surprises) or shape.is_protocol or shape.is_enum or builtin
    return not (isinstance(atom, Scalar | Container | Row) and isinstance(wanted, Scalar | Container | Row))


def _related(analysis: Analysis, given: str, wanted: str) -> bool:
    shapes = analysis.shapes
    doubtful = shapes.of(given).surprises or shapes.of(wanted).surprises or shapes.of(wanted).is_protocol
    above = {info.key for info in analysis.project.lineage(given)[0]}
    below = {info.key for info in analysis.project.lineage(wanted)[0]}
    return bool(doubtful) or wanted in above or given in below


def _name(analysis: Analysis, atom: Atom) -> str:
    if isinstance(atom, Scalar):
        return atom.kind
    if isinstance(atom, Instance):
        return analysis.project.classes[atom.cls].name
    return "a dict" if isinstance(atom, Container) and atom.mapping else "a sequence"


rule = Rule("return-mismatch", "a function that returns what it does not promise", _find)
