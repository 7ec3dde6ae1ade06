"""missing-await: the coroutine of an async function is dropped, or used as if it were its result."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Pending
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, at, called_functions, uses

_OF_A_COROUTINE = frozenset(
    "send throw close cr_frame cr_running cr_code cr_await add_done_callback cancel result done exception cancelled "
    "get_name set_name set_result set_exception get_loop remove_done_callback".split()
)


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Expr):
        if isinstance(use.node, ast.Expr) and isinstance(use.node.value, ast.Call):
            name = _coroutine(analysis, use.node.value)
            if name:
                yield at(
                    rule.name, use, use.node.value, f"{name} is async and is not awaited: it never runs", symbol=name
                )
    for use in uses(
        analysis, ast.Attribute, ast.Subscript, ast.For, ast.Compare, ast.BinOp, ast.If, ast.FormattedValue
    ):
        for part in _needed(use):
            if _is_pending(analysis, part):
                text = "a coroutine is used as if it were its result; await it"
                yield at(rule.name, use, use.node, text, symbol=ast.unparse(part)[:60])
                break


def _coroutine(analysis: Analysis, call: ast.Call) -> str:
    """The name of the async function that a call surely calls, empty if it is none."""
    names = []
    for ref in called_functions(analysis, call.func):
        function = analysis.project.functions[ref.function]
        yields = analysis.flows.get(("yields", function.key, "")) is not None
        plain = all(
            name.rpartition(".")[2] in {"staticmethod", "classmethod", "override"} for name in function.decorators
        )
        if not isinstance(function.node, ast.AsyncFunctionDef) or yields or not plain:
            return ""
        names.append(f"{function.name}()")
    return min(names, default="")


def _needed(use: Use) -> list[ast.expr]:
    """The expressions whose result the node works with."""
    node = use.node
    if isinstance(node, ast.Attribute):
        plain = isinstance(node.ctx, ast.Load) and node.attr not in _OF_A_COROUTINE and not node.attr.startswith("__")
        return [node.value] if plain else []
    if isinstance(node, ast.Subscript):
        return [node.value]
    if isinstance(node, ast.For):
        return [node.iter]
    if isinstance(node, ast.If):
        return [node.test] if isinstance(node.test, ast.Call) else []
    if isinstance(node, ast.Compare):
        identity = any(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops)
        return [] if identity else [node.left, *node.comparators]
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    return [node.value] if isinstance(node, ast.FormattedValue) and not use.told else []


def _is_pending(analysis: Analysis, node: ast.expr) -> bool:
    values = analysis.record.of(node)
    return bool(values.atoms) and not values.open and all(isinstance(atom, Pending) for atom in values.atoms)


rule = Rule("missing-await", "a coroutine that is dropped, or used as if it were its result", _find)
