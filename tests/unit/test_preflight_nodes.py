"""The quick walks visit what those of the standard library visit, in its order, contexts and operators left out."""

from __future__ import annotations

import ast
import inspect

import pytest

from chaosd.preflight.index import collect, nodes

_LEFT_OUT = (ast.expr_context, ast.operator, ast.boolop, ast.unaryop, ast.cmpop)
_EVERYTHING = """
from a import b as c, d
@outer(1, *x, key=y, **z)
class A[T](B, metaclass=M): v: int = 1
async def f(a, /, b: int = 1, *c, d=None, e, **g) -> str:
    global h
    async with p as q, r: await s
    async for i in j: yield i
    else: return
    match k:
        case {"x": [1, *rest], **more} | None as whole if whole: del rest[1:2]
        case Point(0, y=True): raise E from None
try: assert a < b <= c, f"{x!r:>{w}}" "z"
except (E, F) as g: pass
else: a = b = lambda x, *, y: (yield)
finally: x += {**a, 1: 2}[-1] or not {i for i in [] if i for j in i} and (n := 1 if a else 2)
"""


def _trees():
    text = _EVERYTHING.replace("class A[T]", "class A") if "TypeVar" not in dir(ast) else _EVERYTHING
    return [ast.parse(text), ast.parse(inspect.getsource(collect))]


@pytest.mark.parametrize("at", [0, 1])
def test_walk_and_children_are_those_of_the_standard_library(at):
    tree = _trees()[at]
    expected = [node for node in ast.walk(tree) if not isinstance(node, _LEFT_OUT)]
    assert nodes.walk(tree) == expected
    for node in expected:
        assert nodes.children(node) == [n for n in ast.iter_child_nodes(node) if not isinstance(n, _LEFT_OUT)]


def test_walk_of_several_roots_visits_all_of_them():
    first, second = _trees()
    assert set(nodes.walk(first, second)) == {*nodes.walk(first), *nodes.walk(second)}


def test_statements_come_in_the_order_of_the_source_and_stay_out_of_what_is_closed():
    tree = ast.parse("try:\n  a\nexcept E:\n  b\nelse:\n  c\nfinally:\n  def f():\n    d\nmatch x:\n  case 1:\n    e\n")
    found = nodes.statements(tree.body, closed=(ast.FunctionDef,))
    lines = [node.lineno for node in found if isinstance(node, ast.stmt)]
    assert lines == [1, 2, 4, 6, 8, 10, 12]
