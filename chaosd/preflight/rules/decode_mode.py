"""decode-mode: a Redis reply is used as str where its client gives bytes, or the other way round."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.values import (
    ClassRef,
    Container,
    External,
    Instance,
    Method,
    Scalar,
    Site,
    Values,
    awaited,
    elements,
)
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.decode_conflict import conflicts, read_in_both_modes
from chaosd.preflight.rules.rule import Rule, vouched_for

_OTHER = {"str": "bytes", "bytes": "str"}
_TYPES: dict[str, type] = {"str": str, "bytes": bytes}
_TAKE_THEIR_OWN_KIND = frozenset(
    "split rsplit partition rpartition replace startswith endswith strip lstrip rstrip find rfind index rindex count "
    "removeprefix removesuffix".split()
)
_NEED_STR = frozenset(
    {"decimal.Decimal", "uuid.UUID", "datetime.datetime.fromisoformat", "datetime.date.fromisoformat"}
)
_REPR = frozenset({ord("r"), ord("a")})


@dataclass(frozen=True, slots=True)
class _Reply:
    """A Redis reply of known kind, and where its client was built."""

    kind: str
    origin: Site


def _reply(values: Values) -> _Reply | None:
    """The reply that an expression is for certain, else None."""
    scalars = [atom for atom in values.atoms if isinstance(atom, Scalar) and atom.origin is not None]
    if values.open or not scalars or len(scalars) != len(values.atoms) or len({atom.kind for atom in scalars}) > 1:
        return None
    origin = min((atom.origin for atom in scalars if atom.origin is not None), key=str)
    return _Reply(scalars[0].kind, origin)


def _kind(analysis: Analysis, values: Values) -> str | None:
    """Str or bytes when an expression is that for certain; members of a text enum are str."""
    kinds = {_atom_kind(analysis, atom) for atom in values.atoms}
    found = kinds.pop() if len(kinds) == 1 and not values.open else None
    return found if found in _OTHER else None


def _atom_kind(analysis: Analysis, atom: object) -> str | None:
    if isinstance(atom, Scalar):
        return atom.kind
    if isinstance(atom, Instance):
        shape = analysis.shapes.of(atom.cls)
        return "str" if shape.is_enum and shape.is_text else None
    return None


def _find(analysis: Analysis) -> Iterator[Finding]:
    for kind, look in _LOOKS.items():
        for use in analysis.record.uses.get(kind, []):
            if not use.source.reported or use.guarded:
                continue
            found = look(analysis, use, use.node)
            if found is not None:
                yield _finding(use, *found)
    yield from conflicts(analysis)


def _finding(use: Use, reply: _Reply, problem: str) -> Finding:
    mode = "on" if reply.kind == "str" else "off"
    return Finding(
        path=use.source.path,
        line=getattr(use.node, "lineno", 1),
        column=getattr(use.node, "col_offset", 0),
        rule=rule.name,
        message=f"the Redis reply is {reply.kind} (decode_responses is {mode} at {reply.origin}): {problem}",
        symbol=use.function.key.partition(":")[2] if use.function is not None else "",
        defined_at=str(reply.origin),
    )


_Found = tuple[_Reply, str] | None


def _clash(analysis: Analysis, reply: _Reply | None, other: Values) -> bool:
    return reply is not None and _kind(analysis, other) == _OTHER[reply.kind]


def _call(analysis: Analysis, use: Use, node: ast.Call) -> _Found:
    of = analysis.record.of
    if isinstance(node.func, ast.Attribute):
        found = _method(analysis, use, node, node.func)
        if found is not None:
            return found
    first = of(node.args[0]) if len(node.args) == 1 and not node.keywords else None
    reply = _reply(first) if first is not None else None
    if reply is None or reply.kind != "bytes":
        return None
    for atom in of(node.func).atoms:
        if isinstance(atom, External) and atom.dotted == "builtins.str" and not use.told:
            return reply, "str() of it gives the text \"b'…'\", decode it"
        if isinstance(atom, External) and atom.dotted in _NEED_STR:
            return reply, f"{atom.dotted} needs str"
        if isinstance(atom, ClassRef) and _atom_kind(analysis, Instance(atom.cls)) == "str":
            return reply, f"{analysis.project.classes[atom.cls].name} has no bytes among its values"
    return None


def _method(analysis: Analysis, use: Use, node: ast.Call, called: ast.Attribute) -> _Found:
    of = analysis.record.of
    receiver, name = of(called.value), called.attr
    arguments = [of(argument) for argument in node.args]
    reply = _reply(receiver)
    if reply is not None and not hasattr(_TYPES[reply.kind], name) and not vouched_for(analysis, use, name):
        return reply, f"{reply.kind} has no method {name!r}"
    if reply is not None and name in _TAKE_THEIR_OWN_KIND and any(_clash(analysis, reply, a) for a in arguments):
        return reply, f".{name}() is given {_OTHER[reply.kind]}"
    if name == "join" and arguments and _kind(analysis, receiver) is not None:
        part = _reply(elements(arguments[0]))
        if _clash(analysis, part, receiver) and part is not None:
            return part, f"it is joined with {_OTHER[part.kind]}"
    mapping = next((atom.receiver for atom in of(called).atoms if isinstance(atom, Method)), None)
    if isinstance(mapping, Container) and name in {"get", "pop", "setdefault"} and arguments:
        return _key(analysis, receiver, arguments[0])
    return None


def _key(analysis: Analysis, mapping: Values, index: Values) -> _Found:
    """A key of the wrong kind into a reply that is a mapping."""
    whole = bool(mapping.atoms) and all(isinstance(atom, Container) and atom.mapping for atom in mapping.atoms)
    reply = _reply(elements(mapping)) if whole else None
    if reply is not None and _clash(analysis, reply, index):
        return reply, f"its keys are {reply.kind}, this key is {_OTHER[reply.kind]}"
    return None


def _subscript(analysis: Analysis, use: Use, node: ast.Subscript) -> _Found:
    del use
    if not isinstance(node.ctx, ast.Load):
        return None
    return _key(analysis, analysis.record.of(node.value), analysis.record.of(node.slice))


def _compare(analysis: Analysis, use: Use, node: ast.Compare) -> _Found:
    del use
    sides = [analysis.record.of(item) for item in (node.left, *node.comparators)]
    for operator, (left, right) in zip(node.ops, pairwise(sides), strict=True):
        if isinstance(operator, ast.In | ast.NotIn):
            found = _membership(analysis, left, right)
        elif isinstance(operator, ast.Eq | ast.NotEq):
            found = _equality(analysis, left, right)
        else:
            found = None
        if found is not None:
            return found
    return None


def _equality(analysis: Analysis, left: Values, right: Values) -> _Found:
    for one, other in ((left, right), (right, left)):
        reply = _reply(one)
        if reply is not None and _clash(analysis, reply, other):
            return reply, f"it never equals {_OTHER[reply.kind]}"
    return None


def _membership(analysis: Analysis, left: Values, right: Values) -> _Found:
    within = _reply(right) or _reply(elements(right))
    if within is not None and _clash(analysis, within, left):
        return within, f"{_OTHER[within.kind]} is never in it"
    reply = _reply(left)
    if reply is not None and (_clash(analysis, reply, elements(right)) or _clash(analysis, reply, right)):
        return reply, f"it is never in {_OTHER[reply.kind]}"
    return None


def _sum(analysis: Analysis, use: Use, node: ast.BinOp) -> _Found:
    del use
    if not isinstance(node.op, ast.Add):
        return None
    left, right = analysis.record.of(node.left), analysis.record.of(node.right)
    for one, other in ((left, right), (right, left)):
        reply = _reply(one)
        if reply is not None and _clash(analysis, reply, other):
            return reply, f"it is added to {_OTHER[reply.kind]}"
    return None


def _formatted(analysis: Analysis, use: Use, node: ast.FormattedValue) -> _Found:
    reply = _reply(analysis.record.of(node.value))
    if reply is None or reply.kind != "bytes" or use.told or node.conversion in _REPR:
        return None
    return reply, "an f-string shows it as \"b'…'\", decode it"


def _return(analysis: Analysis, use: Use, node: ast.Return) -> _Found:
    function = use.function
    if function is None or node.value is None:
        return None
    said = promised(analysis.project, use.source.module, function.node.returns)
    if said is None:
        return None
    values = analysis.record.of(node.value)
    for wanted, given in ((said, values), (elements(said), elements(values)), (awaited(said), values)):
        reply = _reply(given)
        if reply is not None and _clash(analysis, reply, wanted):
            return reply, f"{function.name} promises {_OTHER[reply.kind]}"
    return None


_LOOKS: dict[type[ast.AST], Callable[..., _Found]] = {
    ast.Call: _call,
    ast.Subscript: _subscript,
    ast.Compare: _compare,
    ast.BinOp: _sum,
    ast.FormattedValue: _formatted,
    ast.Return: _return,
}

rule = Rule(
    "decode-mode", "a Redis reply used in the other decode mode than its client's", _find, gathers=(read_in_both_modes,)
)
