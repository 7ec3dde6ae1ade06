"""What an annotation promises. None: nothing the rules could use (Any, a type variable, a library's class)."""

from __future__ import annotations

import ast

from chaosd.preflight.index.declared import ClassInfo, Outside, dotted
from chaosd.preflight.index.project import Project
from chaosd.preflight.infer.values import (
    BYTES,
    NOTHING,
    NUMBER,
    STR,
    UNKNOWN,
    ClassRef,
    Instance,
    Scalar,
    Values,
    container,
    join,
    one,
    pending,
    row,
)

_PLAIN = {
    "str": STR,
    "bytes": BYTES,
    "int": NUMBER,
    "float": one(Scalar("float")),
    "bool": one(Scalar("bool")),
    "None": NOTHING,
}
LIBRARY_KINDS = frozenset(
    "decimal.Decimal datetime.datetime datetime.date datetime.time datetime.timedelta uuid.UUID pathlib.Path".split()
)
_PLAIN_CONTAINERS = {
    "dict": container(mapping=True, key=UNKNOWN),
    "list": container(mapping=False),
    "set": container(mapping=False, is_set=True),
    "frozenset": container(mapping=False, is_set=True),
}
_SETS = frozenset({"set", "frozenset", "Set", "FrozenSet", "AbstractSet"})
_TRANSPARENT = frozenset({"Optional", "Annotated", "Final", "ClassVar", "Required", "NotRequired", "ReadOnly"})
_SEQUENCES = frozenset(
    "list set frozenset deque Sequence MutableSequence Iterable Iterator AsyncIterator AsyncIterable Collection List "
    "Set FrozenSet AbstractSet Generator AsyncGenerator Deque".split()
)
_MAPPINGS = frozenset("dict Mapping MutableMapping Dict OrderedDict defaultdict".split())
_LATER = frozenset({"Awaitable", "Coroutine"})


def promised(project: Project, module: str, node: ast.expr | None) -> Values | None:
    """The values that an annotation written in `module` allows."""
    if node is None:
        return None
    if (module, node) not in project.notes:
        project.notes[module, node] = _promised(project, module, node)
    found = project.notes[module, node]
    return found if isinstance(found, Values) else None


def _promised(project: Project, module: str, node: ast.expr) -> Values | None:
    if isinstance(node, ast.Constant):
        if node.value is None:
            return NOTHING
        return _quoted(project, module, node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either(project, module, [node.left, node.right])
    if isinstance(node, ast.Subscript):
        return _subscripted(project, module, node)
    path = dotted(node)
    return None if path is None else _named(project, module, path)


def _quoted(project: Project, module: str, text: str) -> Values | None:
    try:
        return promised(project, module, ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return None


def _either(project: Project, module: str, nodes: list[ast.expr]) -> Values | None:
    found = [promised(project, module, node) for node in nodes]
    known = [values for values in found if values is not None]
    return join(*known) if len(known) == len(found) else None


def _named(project: Project, module: str, path: str) -> Values | None:
    names = project.modules[module].names
    head = path.partition(".")[0]
    if head not in names.bound and head not in names.unsure and path in _PLAIN:
        return _PLAIN[path]
    found = project.resolve(module, path)
    if isinstance(found, Outside):
        return one(Scalar(found.path)) if found.path in LIBRARY_KINDS else _PLAIN_CONTAINERS.get(found.path)
    if head not in names.bound and head not in names.unsure and path in _PLAIN_CONTAINERS:
        return _PLAIN_CONTAINERS[path]
    return one(Instance(found.key)) if isinstance(found, ClassInfo) else None


def _outer(project: Project, module: str, node: ast.expr) -> str:
    """The bare name of a generic: `Optional` for `typing.Optional`, `t.Optional` and `Optional`."""
    path = dotted(node) or ""
    found = project.resolve(module, path) if path else None
    return (found.path if isinstance(found, Outside) else path).rpartition(".")[2]


def _subscripted(project: Project, module: str, node: ast.Subscript) -> Values | None:
    outer = _outer(project, module, node.value)
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Union":
        return _either(project, module, inner)
    if outer in _TRANSPARENT:
        return promised(project, module, inner[0])
    if outer in {"type", "Type"}:
        return _class_of(promised(project, module, inner[0]))
    if outer in _SEQUENCES:
        item = _or_unknown(promised(project, module, inner[0]))
        return container(mapping=False, item=item, is_set=outer in _SETS)
    if outer in _MAPPINGS and len(inner) == 2:
        key, item = (_or_unknown(promised(project, module, part)) for part in inner)
        return container(mapping=True, key=key, item=item)
    if outer in {"tuple", "Tuple"}:
        return _tuple(project, module, inner)
    if outer in _LATER:
        return pending(_or_unknown(promised(project, module, inner[-1])))
    path = dotted(node.value)
    return _named(project, module, path) if path is not None else None


def _tuple(project: Project, module: str, inner: list[ast.expr]) -> Values:
    if len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is Ellipsis:
        return container(mapping=False, item=_or_unknown(promised(project, module, inner[0])))
    return row(*(_or_unknown(promised(project, module, part)) for part in inner))


def _class_of(values: Values | None) -> Values | None:
    if values is None:
        return None
    atoms = [atom for atom in values.atoms if isinstance(atom, Instance)]
    return join(*(one(ClassRef(atom.cls, exact=False)) for atom in atoms)) if atoms else None


def _or_unknown(values: Values | None) -> Values:
    return UNKNOWN if values is None else values
