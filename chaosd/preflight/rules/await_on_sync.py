"""await-on-sync: `await` on the result of a function that is not async: a TypeError as soon as it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import FunctionInfo
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Atom, Container, Instance, Row, Scalar
from chaosd.preflight.rules.call_signature import place_of, shown
from chaosd.preflight.rules.rule import Rule, at, called_functions, uses, vouched_for

_PLAIN = frozenset({"staticmethod", "classmethod", "override", "final"})


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Await):
        if not isinstance(use.node, ast.Await) or not isinstance(use.node.value, ast.Call):
            continue
        call = use.node.value
        if isinstance(call.func, ast.Attribute) and vouched_for(analysis, use, call.func.attr):
            continue
        values = analysis.record.of(call)
        if values.open or not all(_is_plain(analysis, atom) for atom in values.atoms):
            continue
        functions = [analysis.project.functions[ref.function] for ref in called_functions(analysis, call.func)]
        if functions and all(_is_sync(analysis, function, bool(values.atoms)) for function in functions):
            name = shown(analysis, functions[0])
            text = f"{name} is not async, its result cannot be awaited"
            yield at(rule.name, use, use.node, text, symbol=name, defined_at=place_of(functions[0]))
        elif (
            not functions
            and values.atoms
            and all(isinstance(a, Scalar | Container) and _reply(a) for a in values.atoms)
        ):
            yield at(rule.name, use, use.node, "the Redis client is not the asyncio one, its replies cannot be awaited")


def _is_plain(analysis: Analysis, atom: Atom) -> bool:
    if isinstance(atom, Instance):
        shape = analysis.shapes.of(atom.cls)
        return not shape.surprises and "__await__" not in shape.attributes and not shape.is_protocol
    return isinstance(atom, Scalar | Container | Row)


def _is_sync(analysis: Analysis, function: FunctionInfo, gives: bool) -> bool:  # noqa: FBT001
    node = function.node
    if not isinstance(node, ast.FunctionDef) or any(n.rpartition(".")[2] not in _PLAIN for n in function.decorators):
        return False
    if analysis.flows.get(("yields", function.key, "")) is not None or _is_stub(node):
        return False
    returns = [part.value for part in walk(node) if isinstance(part, ast.Return)]
    return gives or all(value is None or (isinstance(value, ast.Constant) and value.value is None) for value in returns)


def _is_stub(node: ast.FunctionDef) -> bool:
    return all(
        isinstance(part, ast.Pass | ast.Raise) or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        for part in node.body
    )


def _reply(atom: Scalar | Container) -> bool:
    if isinstance(atom, Scalar):
        return atom.origin is not None
    return any(isinstance(part, Scalar) and part.origin is not None for part in (*atom.item.atoms, *atom.key.atoms))


rule = Rule("await-on-sync", "`await` on what is not awaitable", _find)
