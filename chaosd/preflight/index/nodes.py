"""Walks over syntax trees, several times as quick as those of the standard library.

`ast.walk` asks every field of every node what it is, and visits the contexts and operators too, half of all nodes,
which nobody here asks for. These walks know for each type of node which of its fields hold nodes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

_LEAVES = frozenset(
    "ctx op ops id attr arg asname module level kind conversion is_async simple type_comment rest kwd_attrs tag".split()
)
_NAMED_BY_TEXT = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.ExceptHandler,
    ast.alias,
    ast.MatchAs,
    ast.MatchStar,
)
_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # where statements hold statements, in their order


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    if issubclass(kind, ast.Constant | ast.Global | ast.Nonlocal | ast.MatchSingleton):
        return ()
    leaves = _LEAVES | {"name"} if issubclass(kind, _NAMED_BY_TEXT) or kind.__name__.startswith("Type") else _LEAVES
    named = ("name",) if kind.__name__ == "TypeAlias" else ()
    return (*named, *(field for field in kind._fields if field not in leaves))


class _ByType(dict[type[ast.AST], tuple[str, ...]]):
    """The fields that hold nodes, worked out at the first node of a type."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        found = self[kind] = _fields(kind)
        return found


_FIELDS = _ByType()


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below one, in the order of the source; contexts and operators are left out."""
    return _with_those_below((node,), [])


def walk(*roots: ast.AST) -> list[ast.AST]:
    """The roots and everything below them, level by level as `ast.walk` goes."""
    found: list[ast.AST] = list(roots)
    return _with_those_below(found, found)


def _with_those_below(nodes: Iterable[ast.AST], found: list[ast.AST]) -> list[ast.AST]:
    """Append the nodes right below each of some; where these are `found` itself, it grows until nothing is below."""
    fields = _FIELDS
    for node in nodes:
        for field in fields[type(node)]:
            held = getattr(node, field, None)
            if type(held) is list:
                found += held if None not in held else [child for child in held if child is not None]
            elif held is not None:
                found.append(held)
    return found


def statements(body: Iterable[ast.AST], closed: tuple[type[ast.AST], ...]) -> list[ast.AST]:
    """The statements (with handlers and cases) of a block and of the blocks inside, in the order of the source.

    Those of a `closed` type are given and not entered.
    """
    found: list[ast.AST] = []
    stack = list(body)[::-1]
    while stack:
        node = stack.pop()
        found.append(node)
        if not isinstance(node, closed):
            for field in reversed(_BLOCKS):
                stack += getattr(node, field, ())[::-1]
    return found
