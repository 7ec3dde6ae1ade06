"""One scope while it is interpreted: its names, and what must not be believed inside it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from chaosd.preflight.index.declared import ClassInfo, Declarations, FunctionInfo, dotted
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.index.source import Source
from chaosd.preflight.infer.values import UNKNOWN, Values, join

_ASKING = frozenset({ast.Call, ast.Match, ast.Attribute})
_QUESTIONS = frozenset({"isinstance", "issubclass", "callable", "hasattr", "type", "getattr"})


@dataclass(slots=True)
class Frame:
    """A module, function, class body, lambda or comprehension.

    `env` holds the names at this point of the code, `ever` everything they were given anywhere (what an inner
    function may see). `doubted` are expressions that the code itself asks about (`isinstance(x, …)`): their value is
    not believed. `branches` counts the conditions around this point, `left` is set once the scope may have been left.
    """

    declared: Declarations
    function: FunctionInfo | None = None
    cls: ClassInfo | None = None
    parent: Frame | None = None
    env: dict[str, Values] = field(default_factory=dict)
    ever: dict[str, Values] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    doubted: frozenset[str] = frozenset()
    guarded: int = 0
    branches: int = 0
    told: int = 0
    left: bool = False
    has_yield: bool = False

    @property
    def source(self) -> Source:
        """The file the scope is written in."""
        return self.declared.source

    @property
    def module(self) -> str:
        """The module the scope is written in."""
        return self.declared.source.module

    def bind(self, name: str, values: Values) -> None:
        """Give a name a new value."""
        self.env[name] = values
        before = self.ever.get(name)
        self.ever[name] = values if before is None else join(before, values)

    def inner(self) -> Frame:
        """A comprehension or lambda inside this scope: sees its names, keeps its own."""
        return Frame(
            self.declared,
            function=self.function,
            cls=self.cls,
            parent=self.parent,
            env=dict(self.env),
            globals=self.globals,
            doubted=self.doubted,
            guarded=self.guarded,
            branches=self.branches + 1,
            told=self.told,
            left=self.left,
        )


def merged(one: dict[str, Values], other: dict[str, Values]) -> dict[str, Values]:
    """The names after two ways meet."""
    if one is other:
        return one
    result = dict(one)
    for name, values in other.items():
        before = result.get(name)
        result[name] = values if before is None or before is values else join(before, values)
    return result


def doubts(*scope: ast.AST) -> frozenset[str]:
    """The dotted expressions whose type a scope asks about."""
    found: set[str] = set()
    for node in walk(*scope):
        if type(node) not in _ASKING:
            continue
        asked: ast.expr | None = None
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id in _QUESTIONS:
            asked = node.args[0] if not _only_reads(node) else None
        elif isinstance(node, ast.Match):
            asked = node.subject if any(isinstance(part, ast.MatchClass) for part in walk(node)) else None
        elif isinstance(node, ast.Attribute) and node.attr == "__class__":
            asked = node.value
        path = dotted(asked) if asked is not None else None
        if path is not None:
            found.add(path)
    return frozenset(found)


def _only_reads(node: ast.Call) -> bool:
    """`getattr(value, "name")`: no question, without a default it is `value.name`."""
    is_getattr = isinstance(node.func, ast.Name) and node.func.id == "getattr"
    return is_getattr and len(node.args) == 2 and isinstance(node.args[1], ast.Constant)


def assigned_names(body: list[ast.stmt]) -> frozenset[str]:
    """The names that statements bind, inner scopes left out roughly (their names do no harm here)."""
    found: set[str] = set()
    for node in walk(*body):
        if isinstance(node, ast.Name):
            held: ast.expr = node
        elif isinstance(node, ast.Subscript):
            held = node.value  # a dict that is filled in the loop
        else:
            continue
        if isinstance(held, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(held.id)
    return frozenset(found)


def forget(env: dict[str, Values], names: frozenset[str]) -> dict[str, Values]:
    """The names at the head of a loop: those that its body binds may already hold anything."""
    return {name: UNKNOWN if name in names else values for name, values in env.items()}
