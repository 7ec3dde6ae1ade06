"""Small questions about a piece of syntax."""

from __future__ import annotations

import ast

from chaosd.preflight.index.nodes import walk

_GUARDS = frozenset({"AttributeError", "TypeError"})


def captured(pattern: ast.pattern) -> set[str]:
    """The names that a pattern binds."""
    names: set[str] = set()
    for part in walk(pattern):
        if isinstance(part, ast.MatchAs | ast.MatchStar) and part.name:
            names.add(part.name)
        elif isinstance(part, ast.MatchMapping) and part.rest:
            names.add(part.rest)
    return names


def catches(node: ast.expr | None) -> bool:
    """Whether a handler expects what a missing attribute or a wrong type raises."""
    return node is not None and any(isinstance(part, ast.Name) and part.id in _GUARDS for part in walk(node))


def leaves_inside(body: list[ast.stmt]) -> bool:
    """Whether a block may leave its function."""
    return any(isinstance(node, (ast.Return, ast.Raise)) for node in walk(*body))
