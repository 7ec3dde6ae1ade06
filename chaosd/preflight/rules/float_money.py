"""float-money: exact amounts become floats, or floats become amounts that only look exact."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from decimal import Decimal

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Scalar, Values
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, at, uses

_MONEY = re.compile(r"(?:^|_)(?:price|amount|total|balance|notional|pnl|fee|cost|cash|payment|salary)s?(?:$|_)")
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Call):
        if isinstance(use.node, ast.Call) and len(use.node.args) == 1 and not use.node.keywords:
            yield from _made(analysis, use, use.node)
            yield from _written(analysis, use, use.node)
    for use in uses(analysis, ast.Dict):
        for key, value in _pairs(use.node):
            if isinstance(value, ast.Call) and _MONEY.search(key) and _rounds(analysis, value):
                yield at(rule.name, use, value, f"float() rounds the exact amount {key!r}; send str()", symbol=key)
    for use in uses(analysis, ast.BinOp):
        node = use.node
        if isinstance(node, ast.BinOp) and isinstance(node.op, _ARITHMETIC):
            kinds = {_kind(analysis.record.of(node.left)), _kind(analysis.record.of(node.right))}
            if kinds == {"float", "decimal.Decimal"}:
                yield at(rule.name, use, node, "Decimal and float cannot be calculated with each other", symbol="mixed")


def _kind(values: Values) -> str:
    kinds = {atom.kind if isinstance(atom, Scalar) else "" for atom in values.atoms}
    return kinds.pop() if len(kinds) == 1 and not values.open else ""


def _calls(analysis: Analysis, node: ast.Call, path: str) -> bool:
    values = analysis.record.of(node.func)
    return not values.open and {getattr(atom, "dotted", "") for atom in values.atoms} == {path}


def _made(analysis: Analysis, use: Use, node: ast.Call) -> Iterator[Finding]:
    """A Decimal of a float: `Decimal(0.1)` is 0.1000000000000000055."""
    if not _calls(analysis, node, "decimal.Decimal") or _kind(analysis.record.of(node.args[0])) != "float":
        return
    written = node.args[0]
    negative = isinstance(written, ast.UnaryOp) and isinstance(written.op, ast.USub)
    number = written.operand if negative and isinstance(written, ast.UnaryOp) else written
    if isinstance(number, ast.Constant) and isinstance(number.value, float):
        if Decimal(number.value) == Decimal(repr(number.value)):
            return  # 0.5 is exact
    elif any(isinstance(atom, Scalar) and atom.nuance for atom in analysis.record.of(written).atoms):
        return
    text = "a Decimal made of a float has the float's error; make it of the text"
    yield at(rule.name, use, node, text, symbol="Decimal(float)")


def _rounds(analysis: Analysis, node: ast.Call) -> bool:
    whole = len(node.args) == 1 and _calls(analysis, node, "builtins.float")
    return whole and _kind(analysis.record.of(node.args[0])) == "decimal.Decimal"


def _written(analysis: Analysis, use: Use, node: ast.Call) -> Iterator[Finding]:
    for keyword in node.keywords:
        value = keyword.value
        if keyword.arg and _MONEY.search(keyword.arg) and isinstance(value, ast.Call) and _rounds(analysis, value):
            yield at(rule.name, use, value, f"float() rounds the exact amount {keyword.arg!r}", symbol=keyword.arg)


def _pairs(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value


rule = Rule("float-money", "exact amounts as floats", _find)
