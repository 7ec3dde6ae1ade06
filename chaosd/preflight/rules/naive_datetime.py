"""naive-datetime: a datetime without a zone meets one with a zone, or a field that demands one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import Outside, dotted
from chaosd.preflight.index.fields import Field
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Scalar, Values
from chaosd.preflight.rules.rule import Rule, at, uses
from chaosd.preflight.rules.unknown_field import made_record

_ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def _find(analysis: Analysis) -> Iterator[Finding]:
    of = analysis.record.of
    for use in uses(analysis, ast.Compare):
        node = use.node
        if isinstance(node, ast.Compare):
            sides = [of(item) for item in (node.left, *node.comparators)]
            for operator, (left, right) in zip(node.ops, pairwise(sides), strict=True):
                if isinstance(operator, _ORDERS) and {_zone(left), _zone(right)} == {"naive", "aware"}:
                    text = "a datetime without a zone cannot be compared with one that has a zone"
                    yield at(rule.name, use, node, text, symbol="compare")
    for use in uses(analysis, ast.BinOp):
        node = use.node
        if not isinstance(node, ast.BinOp):
            continue
        minus = isinstance(node.op, ast.Sub)
        if minus and {_zone(of(node.left)), _zone(of(node.right))} == {"naive", "aware"}:
            text = "a datetime without a zone cannot be subtracted from or by one that has a zone"
            yield at(rule.name, use, node, text, symbol="subtract")
    for use in uses(analysis, ast.Call):
        found = made_record(analysis, use.node) if isinstance(use.node, ast.Call) else None
        if found is None or not isinstance(use.node, ast.Call):
            continue
        fields = {field.alias or field.name: field for field in found[1].fields}
        for keyword in use.node.keywords:
            field = fields.get(keyword.arg or "")
            if field is not None and _demands_zone(analysis, field) and _zone(of(keyword.value)) == "naive":
                text = f"{keyword.arg} demands a datetime with a zone, this one has none"
                yield at(rule.name, use, keyword.value, text, symbol=keyword.arg or "", defined_at=field.owner.place)


def _zone(values: Values) -> str:
    found = {
        atom.nuance if isinstance(atom, Scalar) and atom.kind == "datetime.datetime" else "" for atom in values.atoms
    }
    return found.pop() if len(found) == 1 and not values.open else ""


def _demands_zone(analysis: Analysis, field: Field) -> bool:
    found = analysis.project.resolve(field.owner.source.module, dotted(field.annotation) or "?")
    return isinstance(found, Outside) and found.path.endswith("AwareDatetime")


rule = Rule("naive-datetime", "a datetime without a zone where one is needed", _find)
