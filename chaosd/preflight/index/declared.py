"""What a module declares, as values: classes, functions and names, before anything is known about their types."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from chaosd.preflight.index.source import Source

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class FunctionInfo:
    """A function or method. `key` is unique in the project, `cls` the key of the class that holds it."""

    key: str
    source: Source
    node: FunctionNode
    cls: str | None
    decorators: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name it is defined under."""
        return self.node.name

    @property
    def is_static(self) -> bool:
        """Takes neither `self` nor `cls`."""
        return "staticmethod" in self.decorators

    @property
    def is_class_method(self) -> bool:
        """Takes `cls` first."""
        return "classmethod" in self.decorators or self.name in {"__new__", "__init_subclass__", "__class_getitem__"}

    @property
    def is_property(self) -> bool:
        """Read like an attribute."""
        return any(name.rpartition(".")[2] in {"property", "cached_property"} for name in self.decorators)


@dataclass(slots=True)
class ClassInfo:
    """A class. `bases` are keys of project classes or dotted names of others; None stands for a base not understood.

    `members` are the names that its body binds, `stored` those that its methods set on `self`, `fields` its
    annotations in order, `surprises` the reasons why it may have attributes nobody can see, `redefined` the methods
    that are written more than once (under a condition, say).
    """

    key: str
    source: Source
    node: ast.ClassDef
    bases: tuple[str | None, ...] = ()
    methods: dict[str, FunctionInfo] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    fields: dict[str, ast.AnnAssign] = field(default_factory=dict)
    decorators: tuple[str, ...] = ()
    surprises: list[str] = field(default_factory=list)
    redefined: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The name it is defined under."""
        return self.node.name

    @property
    def place(self) -> str:
        """`file:line` of the definition."""
        return f"{self.source.path}:{self.node.lineno}"


@dataclass(frozen=True, slots=True)
class Imported:
    """A name bound by an import: `module` alone for `import m`, with `name` for `from m import name`."""

    module: str
    name: str | None = None


@dataclass(slots=True)
class Names:
    """The module-level names of one module; a name bound more than once in different ways is in `unsure`."""

    bound: dict[str, str | Imported] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)

    def bind(self, name: str, what: str | Imported | None) -> None:
        """Bind `name` to the key of a definition, to an import, or (None) to something computed."""
        if what is None or self.bound.get(name, what) != what:
            self.unsure.add(name)
        else:
            self.bound[name] = what


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` as text, None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def decorator_name(node: ast.expr) -> str:
    """The dotted name of a decorator, called or not; `?` when it is computed."""
    return dotted(node.func if isinstance(node, ast.Call) else node) or "?"


@dataclass(frozen=True, slots=True)
class InProject:
    """A module of the project, by its dotted name from the base."""

    module: str


@dataclass(frozen=True, slots=True)
class Outside:
    """Something of a library, by the dotted path it is imported by."""

    path: str


Resolved = ClassInfo | FunctionInfo | InProject | Outside


@dataclass(slots=True)
class Declarations:
    """Everything that one module declares. `nodes` finds the declaration of a definition's syntax node."""

    source: Source
    size: int = 0  # syntax nodes
    names: Names = field(default_factory=Names)
    classes: dict[str, ClassInfo] = field(default_factory=dict)
    functions: dict[str, FunctionInfo] = field(default_factory=dict)
    nodes: dict[ast.AST, ClassInfo | FunctionInfo] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    probed: set[str] = field(default_factory=set)  # attribute names asked for with hasattr or getattr
    doubts: dict[str, frozenset[str]] = field(default_factory=dict)  # by function: worked out once, read in each round
    filled: set[str] = field(default_factory=set)  # keys that are stored by `…[key] = …`, whatever the receiver
    assigned: dict[ast.stmt, frozenset[str]] = field(default_factory=dict)  # by loop: the names that its body binds
    patched: list[tuple[str, str | None]] = field(default_factory=list)  # (receiver, attribute; None: computed)
