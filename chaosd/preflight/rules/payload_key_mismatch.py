"""payload-key-mismatch: a key is read from a dict that is written out elsewhere without it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.index.fields import record
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Container, Instance
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, at, gathered, hint, uses

_FROM_OUTSIDE = frozenset(
    "model_validate model_validate_json model_validate_strings parse_obj parse_raw validate_python validate_json "
    "decode convert from_json from_dict".split()
)
_CAUGHT = frozenset({"KeyError", "LookupError", "Exception", "BaseException"})


def _find(analysis: Analysis) -> Iterator[Finding]:
    filled = set[str]().union(*(declared.filled for declared in analysis.project.modules.values()))
    parsed = bool(gathered(analysis, _parses))
    for use in uses(analysis, ast.Subscript):
        node = use.node
        if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Load):
            continue
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if not isinstance(key, str) or key in filled or (parsed and _is_field_of_record(analysis, node.value)):
            continue
        values = analysis.record.of(node.value)
        dicts = [atom for atom in values.atoms if isinstance(atom, Container) and atom.fields is not None]
        if not dicts or len(dicts) != len(values.atoms) or values.open or _is_ready(use, key):
            continue
        names = {name for atom in dicts for name, _ in atom.fields or ()}
        origins = sorted({str(origin) for atom in dicts for origin in atom.origins})
        if key in names or any(analysis.flows.changed(origin, key) for origin in origins):
            continue
        text = f"the payload has no key {key!r}{hint(nearest(key, sorted(names)))}"
        yield at(rule.name, use, node, text, symbol=key, defined_at=origins[0])


def _parses(analysis: Analysis) -> set[str]:
    """How records are also read from JSON: what their fields hold is then not only what the project writes."""
    named = analysis.record.uses.get(ast.Attribute, [])
    return {use.node.attr for use in named if isinstance(use.node, ast.Attribute)} & _FROM_OUTSIDE


def _is_field_of_record(analysis: Analysis, node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute):
        return False
    holders = [atom for atom in analysis.record.of(node.value).atoms if isinstance(atom, Instance)]
    return any(record(analysis.project, atom.cls) is not None for atom in holders)


def _is_ready(use: Use, key: str) -> bool:
    """The function asks whether the key is there, or catches its absence."""
    scope = use.function.node if use.function is not None else use.source.tree
    for part in walk(scope):
        if isinstance(part, ast.Compare) and isinstance(part.left, ast.Constant) and part.left.value == key:
            return True
        if isinstance(part, ast.ExceptHandler):
            caught = {n.id for n in walk(part.type) if isinstance(n, ast.Name)} if part.type else _CAUGHT
            if caught & _CAUGHT:
                return True
    return False


rule = Rule("payload-key-mismatch", "a key read from a payload that is written without it", _find, gathers=(_parses,))
