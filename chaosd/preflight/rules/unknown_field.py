"""unknown-field: a record is made, copied or read with a field that its class does not declare."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.index.fields import Record, record
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import ClassRef, External, Instance, Values
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, at, hint, uses

_REPLACERS = frozenset(
    {"dataclasses.replace", "copy.replace", "attrs.evolve", "attr.evolve", "msgspec.structs.replace"}
)
_COPIERS = frozenset({"model_copy", "copy"})


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Call):
        if isinstance(use.node, ast.Call):
            yield from _made(analysis, use, use.node)
            yield from _replaced(analysis, use, use.node)
            yield from _copied(analysis, use, use.node)
    for use in uses(analysis, ast.Subscript):
        if isinstance(use.node, ast.Subscript):
            yield from _key_of_typed_dict(analysis, use, use.node)


def made_record(analysis: Analysis, node: ast.Call) -> tuple[str, Record] | None:
    """The class that a call surely makes an object of, with its fields."""
    values = analysis.record.of(node.func)
    atoms = [atom for atom in values.atoms if isinstance(atom, ClassRef) and atom.exact]
    if len(atoms) != 1 or len(values.atoms) != 1 or values.open:
        return None
    cls = atoms[0].cls
    found = record(analysis.project, cls)
    doubtful = found is None or found.extra == "allow" or _doubtful(analysis, cls, found.kind)
    return None if found is None or doubtful else (cls, found)


def _doubtful(analysis: Analysis, cls: str, kind: str) -> bool:
    surprises = analysis.shapes.of(cls).surprises
    return bool(surprises) if kind not in {"typeddict", "namedtuple"} else False


def of_values(analysis: Analysis, values: Values) -> tuple[str, Record] | None:
    """The class of which an expression surely is an object, with its fields."""
    classes = {atom.cls for atom in values.atoms if isinstance(atom, Instance)}
    if values.open or len(classes) != 1 or not all(isinstance(atom, Instance) for atom in values.atoms):
        return None
    cls = classes.pop()
    found = record(analysis.project, cls)
    if found is None or found.extra == "allow" or _doubtful(analysis, cls, found.kind):
        return None
    return None if analysis.project.subclasses.get(cls) else (cls, found)


def _told(analysis: Analysis, use: Use, node: ast.AST, cls: str, known: Record, name: str) -> Finding:
    info = analysis.project.classes[cls]
    near = nearest(name, sorted(known.keywords))
    ignored = ", and pydantic drops it in silence" if known.kind == "pydantic" and known.extra == "ignore" else ""
    text = f"{info.name} has no field {name!r}{ignored}{hint(near)}"
    return at(rule.name, use, node, text, symbol=f"{info.name}.{name}", defined_at=info.place)


def _made(analysis: Analysis, use: Use, node: ast.Call) -> Iterator[Finding]:
    found = made_record(analysis, node)
    if found is not None:
        cls, known = found
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in known.keywords:
                yield _told(analysis, use, keyword, cls, known, keyword.arg)


def _replaced(analysis: Analysis, use: Use, node: ast.Call) -> Iterator[Finding]:
    """`replace(order, nothing=1)` and `order._replace(nothing=1)`."""
    paths = {atom.dotted for atom in analysis.record.of(node.func).atoms if isinstance(atom, External)}
    receiver: ast.expr | None = None
    if paths and paths <= _REPLACERS and node.args:
        receiver = node.args[0]
    elif isinstance(node.func, ast.Attribute) and node.func.attr == "_replace":
        receiver = node.func.value
    found = of_values(analysis, analysis.record.of(receiver)) if receiver is not None else None
    for keyword in node.keywords if found is not None else ():
        if found is not None and keyword.arg is not None and keyword.arg not in found[1].names | found[1].keywords:
            yield _told(analysis, use, keyword, *found, keyword.arg)


def _copied(analysis: Analysis, use: Use, node: ast.Call) -> Iterator[Finding]:
    """`model.model_copy(update={"nothing": 1})`: pydantic does not look at the keys."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in _COPIERS:
        return
    update = next((keyword.value for keyword in node.keywords if keyword.arg == "update"), None)
    found = of_values(analysis, analysis.record.of(node.func.value)) if isinstance(update, ast.Dict) else None
    if found is None or found[1].kind != "pydantic" or not isinstance(update, ast.Dict):
        return
    for key in update.keys:
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value not in found[1].names:
            yield _told(analysis, use, key, *found, key.value)


def _key_of_typed_dict(analysis: Analysis, use: Use, node: ast.Subscript) -> Iterator[Finding]:
    found = of_values(analysis, analysis.record.of(node.value))
    key = node.slice.value if isinstance(node.slice, ast.Constant) else None
    if found is not None and found[1].kind == "typeddict" and isinstance(key, str) and key not in found[1].names:
        yield _told(analysis, use, node, *found, key)


rule = Rule("unknown-field", "a record made, copied or read with a field that it does not declare", _find)
