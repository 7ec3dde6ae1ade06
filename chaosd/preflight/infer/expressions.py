"""What an expression is. Every evaluated node is recorded, so that rules can ask for it."""

from __future__ import annotations

import ast
from collections.abc import Callable

from chaosd.preflight.index.declared import dotted
from chaosd.preflight.index.nodes import children
from chaosd.preflight.infer import builtin
from chaosd.preflight.infer.attributes import attribute, from_resolved, module_member
from chaosd.preflight.infer.attributes import builtin as builtin_name
from chaosd.preflight.infer.calls import Arguments, call, escape
from chaosd.preflight.infer.frame import Frame
from chaosd.preflight.infer.values import (
    BYTES,
    NOTHING,
    NUMBER,
    STR,
    UNKNOWN,
    Container,
    FunctionRef,
    Instance,
    ModuleRef,
    Scalar,
    Site,
    Values,
    awaited,
    container,
    elements,
    join,
    one,
    opened,
    row,
    same_kind,
    text,
    unpacked,
    written_dict,
)
from chaosd.preflight.infer.world import RECORDED, Use, World

_LOGGING = frozenset("debug info warning warn error exception critical log msg print fail skip echo".split())


class Evaluator:
    """Evaluates expressions of one frame."""

    def __init__(self, world: World, frame: Frame) -> None:
        self.world = world
        self.frame = frame
        self._record = world.record

    def value(self, node: ast.expr | None) -> Values:
        """The values of an expression; None as a node is the constant None."""
        if node is None:
            return NOTHING
        kind = type(node)
        handler = _HANDLERS.get(kind)
        found = handler(self, node) if handler is not None else self._anything(node)
        if kind is ast.Name or kind is ast.Attribute:
            doubted = self.frame.doubted
            if doubted and dotted(node) in doubted:
                found = UNKNOWN
        self.record(node, found)
        return found

    def record(self, node: ast.AST, found: Values) -> None:
        """Keep a node for the rules."""
        record = self._record
        record.values[node] = found
        kind = type(node)
        if kind in RECORDED:
            frame = self.frame
            sure = not frame.branches and not frame.left
            use = Use(frame.source, node, frame.function, frame.guarded > 0, sure, frame.told > 0)
            record.uses.setdefault(kind, []).append(use)

    def name(self, name: str) -> Values:
        """What a name means here."""
        frame: Frame | None = self.frame
        if name in self.frame.env and name not in self.frame.globals:
            return self.frame.env[name]
        while (frame := frame.parent if frame is not None else None) is not None:
            if name in frame.ever and (frame.function is not None or frame.cls is None):
                return frame.ever[name]
        module = self.frame.module
        names = self.frame.declared.names
        if name in names.unsure or name in names.bound:
            found = self.world.project.resolve(module, name)
            return from_resolved(self.world, found) if found is not None else module_member(self.world, module, name)
        for star in names.stars:
            target = self.world.project.find_module(module, star)
            if target is None:
                return UNKNOWN
            found_there = module_member(self.world, target, name)
            if found_there != UNKNOWN:
                return found_there
        return builtin_name(name)

    def assign(self, target: ast.expr, values: Values) -> None:
        """Give a target its value."""
        if isinstance(target, ast.Name):
            self.bind(target.id, values, target)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, container(mapping=False, item=values))
        elif isinstance(target, ast.Tuple | ast.List):
            starred = any(isinstance(item, ast.Starred) for item in target.elts)
            for at, item in enumerate(target.elts):
                part = elements(values) if starred else unpacked(values, at, len(target.elts))
                self.assign(item, part)
        elif isinstance(target, ast.Attribute):
            self._store(target, values)
        elif isinstance(target, ast.Subscript):
            self._fill(target, values)

    def bind(self, name: str, values: Values, node: ast.AST) -> None:
        """Give a name its value; at module level, and under `global`, the whole project may see it."""
        frame = self.frame
        frame.bind(name, values)
        at_module_level = frame.function is None and frame.cls is None and frame.parent is None
        if at_module_level or name in frame.globals:
            self.world.flow(("global", frame.module, name), values, frame.source, node, into=frame.source)

    def _store(self, target: ast.Attribute, values: Values) -> None:
        world = self.world
        for atom in self.value(target.value).atoms:
            if isinstance(atom, Instance):
                info = world.project.classes[atom.cls]
                world.flow(("attribute", atom.cls, target.attr), values, self.frame.source, target, into=info.source)
            elif isinstance(atom, ModuleRef):
                world.flow(("global", atom.name, target.attr), values, self.frame.source, target)

    def _fill(self, target: ast.Subscript, values: Values) -> None:
        """`holder[key] = value`: whoever sees the dict by another name can no longer trust what was written out."""
        holder = self.value(target.value)
        self.value(target.slice)
        escape(self.world, values)
        key = target.slice.value if isinstance(target.slice, ast.Constant) else None
        name = key if isinstance(key, str) else None
        self.world.write(holder, name, self.frame.source, target)
        if name is not None and isinstance(target.value, ast.Name):
            fields = [dict(atom.fields) for atom in holder.atoms if isinstance(atom, Container) and atom.fields]
            if len(fields) == 1 and len(holder.atoms) == 1 and not holder.open:
                filled = written_dict({**fields[0], name: values}, Site(self.frame.source.path, target.lineno))
                self.frame.bind(target.value.id, filled)

    def _anything(self, node: ast.expr) -> Values:
        for child in children(node):
            if isinstance(child, ast.expr):
                self.value(child)
        return UNKNOWN

    def _constant(self, node: ast.Constant) -> Values:
        kind = type(node.value)
        if kind is bool:
            return one(Scalar("bool", truth=bool(node.value)))
        return text(node.value) if isinstance(node.value, str) else _CONSTANTS.get(kind, UNKNOWN)

    def _name(self, node: ast.Name) -> Values:
        return self.name(node.id)

    def _attribute(self, node: ast.Attribute) -> Values:
        return attribute(self.world, self.value(node.value), node.attr)

    def _await(self, node: ast.Await) -> Values:
        found = self.value(node.value)
        return awaited(found)

    def _named(self, node: ast.NamedExpr) -> Values:
        found = self.value(node.value)
        self.assign(node.target, found)
        return found

    def _call(self, node: ast.Call) -> Values:
        callee = self.value(node.func)
        told = isinstance(node.func, ast.Attribute | ast.Name) and _last(node.func) in _LOGGING
        self.frame.told += told
        positional = tuple(self.value(item) for item in node.args)
        keywords = {item.arg: self.value(item.value) for item in node.keywords if item.arg is not None}
        for item in node.keywords:
            if item.arg is None:
                self.value(item.value)
        self.frame.told -= told
        spread = len(keywords) < len(node.keywords) or any(isinstance(item, ast.Starred) for item in node.args)
        return call(
            self.world, callee, Arguments(positional, keywords, spread, node, self.frame.source, self.frame.cls)
        )

    def _either(self, node: ast.BoolOp) -> Values:
        first, *others = node.values
        found = [self.value(first)]
        self.frame.branches += 1
        found.extend(self.value(item) for item in others)
        self.frame.branches -= 1
        return join(*found)

    def _choice(self, node: ast.IfExp) -> Values:
        self.value(node.test)
        self.frame.branches += 1
        found = join(self.value(node.body), self.value(node.orelse))
        self.frame.branches -= 1
        return found

    def _compare(self, node: ast.Compare) -> Values:
        for item in (node.left, *node.comparators):
            self.value(item)
        return one(Scalar("bool"))

    def _not(self, node: ast.UnaryOp) -> Values:
        found = self.value(node.operand)
        return one(Scalar("bool")) if isinstance(node.op, ast.Not) else found

    def _operation(self, node: ast.BinOp) -> Values:
        left, right = self.value(node.left), self.value(node.right)
        kinds = {atom.kind if isinstance(atom, Scalar) else "" for atom in left.atoms | right.atoms}
        plain = not left.open and not right.open and left.atoms and right.atoms
        if isinstance(node.op, ast.Mod) and plain and {getattr(atom, "kind", "") for atom in left.atoms} == {"str"}:
            return STR
        if plain and kinds <= {"decimal.Decimal", "int"} and "decimal.Decimal" in kinds:
            return one(Scalar("decimal.Decimal"))
        if plain and kinds <= {"float", "int"} and "float" in kinds:
            return one(Scalar("float"))
        return same_kind(join(left, right)) if plain and kinds in ({"str"}, {"bytes"}) else UNKNOWN

    def _text(self, node: ast.JoinedStr) -> Values:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.record(part, self.value(part.value))
                if part.format_spec is not None:
                    self.value(part.format_spec)
        return STR

    def _sequence(self, node: ast.List | ast.Set) -> Values:
        found = [self.value(item) for item in node.elts]
        for values in found:
            escape(self.world, values)
        return container(mapping=False, item=opened(join(*found)), is_set=isinstance(node, ast.Set))

    def _tuple(self, node: ast.Tuple) -> Values:
        found = [self.value(item) for item in node.elts]
        if any(isinstance(item, ast.Starred) for item in node.elts):
            return container(mapping=False, item=UNKNOWN)
        return row(*found)

    def _dict(self, node: ast.Dict) -> Values:
        keys = [self.value(key) if key is not None else UNKNOWN for key in node.keys]
        items = [self.value(item) for item in node.values]
        for values in items:
            escape(self.world, values)
        names = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        written = {name: values for name, values in zip(names, items, strict=True) if isinstance(name, str)}
        if written and len(written) == len(items):
            return written_dict(written, Site(self.frame.source.path, node.lineno))
        return container(mapping=True, key=opened(join(*keys)), item=opened(join(*items)))

    def _subscript(self, node: ast.Subscript) -> Values:
        found = self.value(node.value)
        self.value(node.slice)
        index = node.slice.value if isinstance(node.slice, ast.Constant) else None
        written = [atom for atom in found.atoms if isinstance(atom, Container) and atom.fields is not None]
        if written and len(written) == len(found.atoms) and not found.open:
            return join(*(self._field(atom, index) for atom in written))
        return builtin.item_of(
            found, index if isinstance(index, int) else None, sliced=isinstance(node.slice, ast.Slice)
        )

    def _field(self, atom: Container, key: object) -> Values:
        """What a dict that is written out holds under a key; under a computed one, anything that it holds."""
        if not isinstance(key, str):
            return opened(atom.item) if self.world.written(atom) else atom.item
        there = dict(atom.fields or ()).get(key)
        if there is None:
            return UNKNOWN
        return opened(there) if self.world.written(atom, key) else there

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Values:
        inner = Evaluator(self.world, self.frame.inner())
        for part in node.generators:
            values = elements(inner.value(part.iter))
            inner.assign(part.target, values)
            for test in part.ifs:
                inner.value(test)
        if isinstance(node, ast.DictComp):
            key, item = inner.value(node.key), inner.value(node.value)
            return container(mapping=True, key=opened(key), item=opened(item))
        item = opened(inner.value(node.elt))
        return container(mapping=False, item=item, is_set=isinstance(node, ast.SetComp))

    def _lambda(self, node: ast.Lambda) -> Values:
        inner = Evaluator(self.world, self.frame.inner())
        spec = node.args
        for item in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg):
            if item is not None:
                inner.frame.bind(item.arg, UNKNOWN)
        inner.value(node.body)
        return UNKNOWN

    def _yield(self, node: ast.Yield) -> Values:
        found = self.value(node.value)
        self._yielded(node, found)
        return UNKNOWN

    def _yield_from(self, node: ast.YieldFrom) -> Values:
        self._yielded(node, elements(self.value(node.value)))
        return UNKNOWN

    def _yielded(self, node: ast.expr, values: Values) -> None:
        function = self.frame.function
        if function is not None:
            source = self.frame.source
            self.world.flow(("yield", function.key, ""), values, source, node, into=source)
            self.world.flow(("yields", function.key, ""), NOTHING, source, node, into=source)


def _last(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def hand_out(world: World, values: Values) -> None:
    """A function that is kept as a value may be called by anybody; a class that is kept still is only a class."""
    for atom in values.atoms:
        if isinstance(atom, FunctionRef):
            world.escape(atom.function)


_CONSTANTS = {bytes: BYTES, int: NUMBER, float: one(Scalar("float")), type(None): NOTHING}
_E = Evaluator
_HANDLERS: dict[type[ast.expr], Callable[..., Values]] = {
    ast.Constant: _E._constant,
    ast.Name: _E._name,
    ast.Attribute: _E._attribute,
    ast.Await: _E._await,
    ast.NamedExpr: _E._named,
    ast.Call: _E._call,
    ast.BoolOp: _E._either,
    ast.IfExp: _E._choice,
    ast.Compare: _E._compare,
    ast.UnaryOp: _E._not,
    ast.BinOp: _E._operation,
    ast.JoinedStr: _E._text,
    ast.List: _E._sequence,
    ast.Set: _E._sequence,
    ast.Tuple: _E._tuple,
    ast.Dict: _E._dict,
    ast.Subscript: _E._subscript,
    ast.ListComp: _E._comprehension,
    ast.SetComp: _E._comprehension,
    ast.GeneratorExp: _E._comprehension,
    ast.DictComp: _E._comprehension,
    ast.Lambda: _E._lambda,
    ast.Yield: _E._yield,
    ast.YieldFrom: _E._yield_from,
}
