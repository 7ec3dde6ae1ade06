"""Reads the declarations of one module off its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from chaosd.preflight.index.declared import (
    ClassInfo,
    Declarations,
    FunctionInfo,
    FunctionNode,
    Imported,
    decorator_name,
    dotted,
)
from chaosd.preflight.index.functional import class_from_call
from chaosd.preflight.index.nodes import children, statements, walk
from chaosd.preflight.index.source import Source

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_OWN_RECEIVERS = frozenset({"self", "cls", "mcs"})  # a class's own stores are collected class by class
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_LOOKED_AT = frozenset({ast.Attribute, ast.Subscript, ast.Call})
_SCOPES = (*_DEFINITIONS, ast.Lambda)


def collect(source: Source) -> Declarations:
    """Classes, functions, imports and monkeypatches of a module, nested ones included."""
    found = Declarations(source)
    _Collector(found).module()
    return found


class _Collector:
    """Walks one module once; `scope` is the qualified name so far."""

    def __init__(self, found: Declarations) -> None:
        self.found = found
        self.source = found.source

    def module(self) -> None:
        for node in _own_nodes(self.source.tree.body):
            self._declare(node, scope="", owner=None)
            for name, what in _bindings(node, self.source):
                declared = self.found.nodes.get(node)
                self.found.names.bind(name, what or (declared.key if declared else None))
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                self.found.names.stars.append(absolute(node, self.source))
        _from_outside(self.found)

    def _declare(self, node: ast.AST, scope: str, owner: ClassInfo | None) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.found.imports.update(_imported_modules(node, self.source))
        elif isinstance(node, _FUNCTIONS):
            self._function(node, scope, owner)
        elif isinstance(node, ast.ClassDef):
            self._class(node, scope, owner)
        elif isinstance(node, ast.Assign) and (made := class_from_call(node)) is not None:
            self._class(made, scope, owner)
            self.found.nodes[node.targets[0]] = self.found.nodes[made]

    def _key(self, scope: str, name: str, line: int) -> str:
        key = f"{self.source.module}:{scope}{name}"
        taken = key in self.found.classes or key in self.found.functions
        return f"{key}#{line}" if taken else key

    def _function(self, node: FunctionNode, scope: str, owner: ClassInfo | None) -> None:
        decorators = tuple(decorator_name(item) for item in node.decorator_list)
        key = self._key(scope, node.name, node.lineno)
        info = FunctionInfo(key, self.source, node, owner.key if owner else None, decorators)
        self.found.functions[key] = info
        self.found.nodes[node] = info
        accessor = any(name.endswith((".setter", ".deleter", ".getter")) for name in decorators)
        if owner is not None and not accessor:
            if node.name in owner.methods and not _is_overload(owner.methods[node.name]):
                owner.redefined.add(node.name)
            owner.methods[node.name] = info
        for inner in statements(node.body, closed=_DEFINITIONS):
            self._declare(inner, f"{scope}{node.name}.<locals>.", None)

    def _class(self, node: ast.ClassDef, scope: str, owner: ClassInfo | None) -> None:
        key = self._key(scope, node.name, node.lineno)
        info = ClassInfo(key, self.source, node, decorators=tuple(map(decorator_name, node.decorator_list)))
        self.found.classes[key] = info
        self.found.nodes[node] = info
        for inner in _own_nodes(node.body):
            for name in _bound_names(inner):
                info.members.setdefault(name, getattr(inner, "lineno", node.lineno))
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                info.fields[inner.target.id] = inner
            self._declare(inner, f"{scope}{node.name}.", info)
        _slots(info)
        _surprises_of_body(info)
        for method in node.body:
            if isinstance(method, _FUNCTIONS):
                _stores(info, method)


def _is_overload(method: FunctionInfo) -> bool:
    return any(name.rpartition(".")[2] == "overload" for name in method.decorators)


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes of one scope, without entering the scopes inside it."""
    stack = list(reversed(list(body)))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, _SCOPES):
            stack += children(node)[::-1]


def absolute(node: ast.ImportFrom, source: Source) -> str:
    """The dotted module that a `from … import` names, relative ones resolved against the importing module."""
    if not node.level:
        return node.module or ""
    parts = source.module.split(".") if source.module else []
    up = node.level - (1 if source.is_package else 0)
    parts = parts[: len(parts) - up] if up else parts
    return ".".join([*parts, *([node.module] if node.module else [])])


def _imported_modules(node: ast.Import | ast.ImportFrom, source: Source) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    module = absolute(node, source)
    yield module
    yield from (f"{module}.{alias.name}" for alias in node.names if alias.name != "*")


def _bindings(node: ast.AST, source: Source) -> Iterator[tuple[str, Imported | None]]:
    """The names that a node of module level binds, with the import where it is one."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            whole = alias.asname is not None
            yield (
                alias.asname or alias.name.partition(".")[0],
                Imported(alias.name if whole else alias.name.partition(".")[0]),
            )
    elif isinstance(node, ast.ImportFrom):
        module = absolute(node, source)
        yield from ((a.asname or a.name, Imported(module, a.name)) for a in node.names if a.name != "*")
    else:
        yield from ((name, None) for name in _bound_names(node))


def _bound_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (a.asname or a.name.partition(".")[0] for a in node.names)
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name


def _slots(info: ClassInfo) -> None:
    for node in info.node.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__slots__" for t in node.targets):
            for text in walk(node.value):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    info.members.setdefault(text.value, node.lineno)


def _surprises_of_body(info: ClassInfo) -> None:
    for name in ("__getattr__", "__getattribute__", "__dict__"):
        if name in info.members:
            info.surprises.append(f"defines {name}")
    for node in _own_nodes(info.node.body):
        if isinstance(node, ast.Call) and dotted(node.func) in {"locals", "vars", "exec", "globals"}:
            info.surprises.append("computes its body")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            info.surprises.append("imports * in its body")
    if "*" in info.members:
        info.surprises.append("imports * in its body")


def _stores(info: ClassInfo, method: FunctionNode) -> None:
    """Attributes that a method sets on its first parameter, and what it does to hide others."""
    parameters = [*method.args.posonlyargs, *method.args.args]
    if not parameters:
        return
    me = parameters[0].arg
    for node in walk(method):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == me:
            if isinstance(node.ctx, ast.Store):
                info.stored.setdefault(node.attr, node.lineno)
            if node.attr == "__dict__" or (node.attr == "__class__" and isinstance(node.ctx, ast.Store)):
                info.surprises.append(f"uses self.{node.attr}")
        elif isinstance(node, ast.Call):
            _call_on_self(info, node, me)


def _call_on_self(info: ClassInfo, node: ast.Call, me: str) -> None:
    name = dotted(node.func) or ""
    arguments = node.args
    if not arguments or not (isinstance(arguments[0], ast.Name) and arguments[0].id == me):
        return
    if name in {"setattr", "object.__setattr__", "super.__setattr__"} and len(arguments) > 1:
        attribute = arguments[1]
        if isinstance(attribute, ast.Constant) and isinstance(attribute.value, str):
            info.stored.setdefault(attribute.value, node.lineno)
        else:
            info.surprises.append("sets attributes by computed name")
    elif name == "vars":
        info.surprises.append("uses vars(self)")


def _from_outside(found: Declarations) -> None:
    """Attributes stored from outside, keys that are filled, and names that are asked for before they are used."""
    nodes = walk(found.source.tree)
    found.size = len(nodes)
    for node in nodes:
        if type(node) not in _LOOKED_AT:
            continue
        if isinstance(node, ast.Attribute):
            if isinstance(node.ctx, ast.Store) and (receiver := dotted(node.value) or "?") not in _OWN_RECEIVERS:
                found.patched.append((receiver, node.attr))
        elif isinstance(node, ast.Subscript):
            key = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if isinstance(node.ctx, ast.Store) and isinstance(key, str):
                found.filled.add(key)
        elif isinstance(node, ast.Call):
            _ask_or_patch(found, node)


def _ask_or_patch(found: Declarations, node: ast.Call) -> None:
    name = dotted(node.func)
    if name not in {"hasattr", "getattr", "setattr"} or len(node.args) < 2:
        return
    attribute = node.args[1]
    constant = attribute.value if isinstance(attribute, ast.Constant) else None
    text = constant if isinstance(constant, str) else None
    if name == "setattr":
        if dotted(node.args[0]) not in _OWN_RECEIVERS:
            found.patched.append((dotted(node.args[0]) or "?", text))
        elif text is not None and len(node.args) > 2:
            found.probed.add(text)
    elif text is not None and (name == "hasattr" or len(node.args) > 2):
        found.probed.add(text)
