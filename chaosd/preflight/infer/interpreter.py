"""Runs one scope abstractly, statement by statement: both ways of a branch, a loop body once with doubt at its head."""

from __future__ import annotations

import ast
from collections.abc import Callable

from chaosd.preflight.index.collect import absolute
from chaosd.preflight.index.declared import ClassInfo, Declarations, FunctionInfo, FunctionNode
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.attributes import combined, from_resolved, function_value, result
from chaosd.preflight.infer.expressions import Evaluator, hand_out
from chaosd.preflight.infer.frame import Frame, assigned_names, doubts, forget, merged
from chaosd.preflight.infer.parameters import bind_parameters
from chaosd.preflight.infer.syntax import captured, catches, leaves_inside
from chaosd.preflight.infer.values import (
    NOTHING,
    UNKNOWN,
    ClassRef,
    Instance,
    Pending,
    RedisClient,
    Values,
    elements,
    join,
    one,
)
from chaosd.preflight.infer.world import World

Later = tuple[Frame, FunctionInfo]  # a function to be interpreted once the scope that defines it has been


def run_module(world: World, declared: Declarations) -> list[Later]:
    """Interpret a module without its functions, those of its classes included, and give these in their order."""
    frame = Frame(declared, doubted=doubts(*_simple(declared.source.tree.body)))
    module = Interpreter(world, frame)
    module.statements(declared.source.tree.body)
    return module.later


def _simple(body: list[ast.stmt]) -> list[ast.stmt]:
    return [node for node in body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]


class Interpreter:
    """Executes the statements of one frame. A block says whether it always leaves (return, raise, continue, break)."""

    def __init__(self, world: World, frame: Frame) -> None:
        self.world = world
        self.frame = frame
        self.evaluate = Evaluator(world, frame)
        self.later: list[Later] = []

    def block(self, body: list[ast.stmt]) -> bool:
        """Run statements in order, then the functions that they define: those see all names of the scope."""
        leaves = self.statements(body)
        for scope, function in self.later:
            run_function(self.world, scope, function)
        self.later.clear()
        return leaves

    def statements(self, body: list[ast.stmt]) -> bool:
        """Run statements in order; the functions that they define are kept for later."""
        for node in body:
            handler = _HANDLERS.get(type(node))
            if handler is not None and handler(self, node):
                return True
        return False

    def _branch(self, body: list[ast.stmt], env: dict[str, Values]) -> tuple[bool, dict[str, Values]]:
        self.frame.env = dict(env)
        self.frame.branches += 1
        leaves = self.statements(body)
        self.frame.branches -= 1
        return leaves, self.frame.env

    def _meet(self, *ways: tuple[bool, dict[str, Values]]) -> bool:
        open_ways = [env for leaves, env in ways if not leaves]
        if any(leaves for leaves, _ in ways):
            self.frame.left = True
        if not open_ways:
            return True
        env = open_ways[0]
        for other in open_ways[1:]:
            env = merged(env, other)
        self.frame.env = env
        return False

    def _if(self, node: ast.If) -> bool:
        self.evaluate.record(node, self.evaluate.value(node.test))
        before = self.frame.env
        if isinstance(node.test, ast.Name | ast.Attribute) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return self.statements(node.body) and False
        return self._meet(self._branch(node.body, before), self._branch(node.orelse, before))

    def _match(self, node: ast.Match) -> bool:
        self.evaluate.record(node, self.evaluate.value(node.subject))
        before = self.frame.env
        ways = [(False, before)]
        for case in node.cases:
            self.frame.env = dict(before)
            for name in captured(case.pattern):
                self.frame.bind(name, UNKNOWN)
            for part in walk(case.pattern):
                if isinstance(part, ast.MatchValue):
                    self.evaluate.value(part.value)
            if case.guard is not None:
                self.evaluate.value(case.guard)
            ways.append(self._branch(case.body, self.frame.env))
        return self._meet(*ways)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> bool:
        values = UNKNOWN
        if not isinstance(node, ast.While):
            held = self.evaluate.value(node.iter)
            self.evaluate.record(node, held)
            values = elements(held)
        names = self.frame.declared.assigned.get(node)
        if names is None:
            test = [ast.Expr(node.test)] if isinstance(node, ast.While) else []
            names = self.frame.declared.assigned[node] = assigned_names([*node.body, *test])
        before = self.frame.env
        self.frame.env = forget(before, names)
        if isinstance(node, ast.While):
            self.evaluate.value(node.test)
        else:
            self.evaluate.assign(node.target, values)
        _, after = self._branch(node.body, self.frame.env)
        self.frame.left = self.frame.left or leaves_inside(node.body)
        self.frame.env = merged(before, after)
        self.statements(node.orelse)
        return False

    def _try(self, node: ast.Try | ast.TryStar) -> bool:
        guards = any(catches(handler.type) for handler in node.handlers)
        before = self.frame.env
        self.frame.env = dict(before)
        self.frame.guarded += guards
        leaves = self.statements(node.body)
        self.frame.guarded -= guards
        if not leaves:
            leaves = self.statements(node.orelse)
        way = (leaves, self.frame.env)
        at_failure = merged(before, self.frame.env)
        ways = [way]
        for handler in node.handlers:
            if handler.type is not None:
                self.evaluate.value(handler.type)
            env = dict(at_failure)
            if handler.name:
                env[handler.name] = UNKNOWN
                self.frame.ever[handler.name] = UNKNOWN
            ways.append(self._branch(handler.body, env))
        left = self._meet(*ways)
        return self.statements(node.finalbody) or left

    def _with(self, node: ast.With | ast.AsyncWith) -> bool:
        for item in node.items:
            entered = self._entered(self.evaluate.value(item.context_expr))
            if item.optional_vars is not None:
                self.evaluate.assign(item.optional_vars, entered)
        guards = any("suppress" in ast.unparse(item.context_expr) for item in node.items)
        asserts = any("raises" in ast.unparse(item.context_expr) for item in node.items)
        self.frame.guarded += guards or asserts
        leaves = self.statements(node.body)
        self.frame.guarded -= guards or asserts
        return leaves and not guards and not asserts

    def _entered(self, values: Values) -> Values:
        parts = []
        for atom in values.atoms:
            if isinstance(atom, Pending):
                parts.append(atom.values)
            elif isinstance(atom, RedisClient):
                parts.append(one(atom))
            elif isinstance(atom, Instance):
                parts.append(self._enter(atom))
            else:
                parts.append(UNKNOWN)
        return join(*parts, UNKNOWN if values.open else NOTHING)

    def _enter(self, atom: Instance) -> Values:
        for name in ("__aenter__", "__enter__"):
            method = self.world.method(atom.cls, name)
            if method is not None:
                found = result(self.world, method)
                inner = [part.values if isinstance(part, Pending) else one(part) for part in found.atoms]
                return join(*inner, UNKNOWN if found.open else NOTHING)
        return UNKNOWN

    def _assign(self, node: ast.Assign) -> bool:
        declared = self.frame.declared.nodes.get(node.targets[0])
        if isinstance(declared, ClassInfo):
            self._name(declared.name, one(ClassRef(declared.key)), node)
            return False
        values = self.evaluate.value(node.value)
        hand_out(self.world, values)
        for target in node.targets:
            self.evaluate.assign(target, values)
            self._class_level(target, values)
        return False

    def _class_level(self, target: ast.expr, values: Values) -> None:
        frame = self.frame
        if frame.cls is not None and frame.function is None and isinstance(target, ast.Name):
            key = ("attribute", frame.cls.key, target.id)
            self.world.flow(key, values, frame.source, target, into=frame.source)

    def _annotated(self, node: ast.AnnAssign) -> bool:
        said = promised(self.world.project, self.frame.module, node.annotation)
        if node.value is None:
            if isinstance(node.target, ast.Name) and self.frame.function is not None:
                self.frame.bind(node.target.id, UNKNOWN if said is None else said)
            return False
        values = self.evaluate.value(node.value)
        hand_out(self.world, values)
        self.evaluate.assign(node.target, combined(self.world, said, values))
        self._class_level(node.target, values)
        return False

    def _augmented(self, node: ast.AugAssign) -> bool:
        self.evaluate.value(node.value)
        if isinstance(node.target, ast.Name | ast.Attribute):
            loaded = ast.copy_location(type(node.target)(**{**vars(node.target), "ctx": ast.Load()}), node.target)
            self.world.write(self.evaluate.value(loaded), None, self.frame.source, node)
        self.evaluate.assign(node.target, UNKNOWN)
        return False

    def _expression(self, node: ast.Expr) -> bool:
        self.evaluate.record(node, self.evaluate.value(node.value))
        return False

    def _return(self, node: ast.Return) -> bool:
        values = self.evaluate.value(node.value)
        self.evaluate.record(node, values)
        hand_out(self.world, values)
        function = self.frame.function
        if function is not None:
            self.world.flow(("return", function.key, ""), values, self.frame.source, node, into=self.frame.source)
        return True

    def _raise(self, node: ast.Raise) -> bool:
        self.frame.told += 1
        for part in (node.exc, node.cause):
            self.evaluate.value(part)
        self.frame.told -= 1
        return True

    def _assert(self, node: ast.Assert) -> bool:
        self.evaluate.value(node.test)
        self.frame.told += 1
        self.evaluate.value(node.msg)
        self.frame.told -= 1
        return False

    def _delete(self, node: ast.Delete) -> bool:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.frame.env.pop(target.id, None)
            elif isinstance(target, ast.Subscript):
                self.world.write(self.evaluate.value(target.value), None, self.frame.source, target)
        return False

    def _leave(self, node: ast.stmt) -> bool:
        del node
        return True

    def _global(self, node: ast.Global | ast.Nonlocal) -> bool:
        if isinstance(node, ast.Global):
            self.frame.globals.update(node.names)
        else:
            for name in node.names:
                self.frame.bind(name, UNKNOWN)
        return False

    def _name(self, name: str, values: Values, node: ast.AST) -> None:
        """Bind a definition or import. At module level the index follows those, unless there are several."""
        frame = self.frame
        top = frame.function is None and frame.cls is None and frame.parent is None
        if not top or name in frame.declared.names.unsure:
            self.evaluate.bind(name, values, node)
        if frame.cls is not None and frame.function is None:
            self.world.flow(("attribute", frame.cls.key, name), values, frame.source, node, into=frame.source)

    def _import(self, node: ast.Import) -> bool:
        for alias in node.names:
            path = alias.name if alias.asname else alias.name.partition(".")[0]
            found = self.world.project.absolute(self.frame.module, path)
            self._name(alias.asname or path, from_resolved(self.world, found), node)
        return False

    def _import_from(self, node: ast.ImportFrom) -> bool:
        module = absolute(node, self.frame.source)
        target = self.world.project.find_module(self.frame.module, module)
        for alias in node.names:
            found = self.world.project.absolute(self.frame.module, f"{module}.{alias.name}")
            values = from_resolved(self.world, found)
            if found is None and target is not None:
                values = self.world.global_(target, alias.name)
            if alias.name != "*":
                self._name(alias.asname or alias.name, values, node)
        return False

    def _class(self, node: ast.ClassDef) -> bool:
        for item in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.evaluate.value(item)
        info = self.frame.declared.nodes[node]
        if isinstance(info, ClassInfo):
            self._name(node.name, one(ClassRef(info.key)), node)
            body = Frame(self.frame.declared, cls=info, parent=self.frame, doubted=self.frame.doubted)
            inner = Interpreter(self.world, body)
            inner.statements(node.body)
            self.later.extend(inner.later)
        return False

    def _function(self, node: FunctionNode) -> bool:
        info = self.frame.declared.nodes[node]
        if not isinstance(info, FunctionInfo):
            return False
        for item in node.decorator_list:
            self.evaluate.value(item)
        self._defaults(info)
        in_class = self.frame.cls is not None and self.frame.function is None
        if not in_class:
            self._name(node.name, function_value(self.world, info, bound=False), node)
        self.later.append((self.frame, info))
        return False

    def _defaults(self, info: FunctionInfo) -> None:
        spec = info.node.args
        places = [*spec.posonlyargs, *spec.args]
        pairs = list(zip(places[len(places) - len(spec.defaults) :], spec.defaults, strict=True))
        pairs += [(item, default) for item, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default]
        for item, default in pairs:
            values = self.evaluate.value(default)
            key = ("default", info.key, item.arg)
            self.world.flow(key, values, self.frame.source, default, into=self.frame.source)


def run_function(world: World, scope: Frame, info: FunctionInfo) -> None:
    """Interpret a function with what is known of its parameters."""
    holder = world.project.classes.get(info.cls) if info.cls is not None else scope.cls
    parent = scope if scope.function is not None else (scope.parent if scope.cls is not None else None)
    nested = parent is not None and parent.function is not None
    doubted = scope.declared.doubts.get(info.key)
    if doubted is None:
        doubted = scope.declared.doubts[info.key] = doubts(info.node)
    frame = Frame(
        scope.declared,
        function=info,
        cls=holder,
        parent=parent if nested else None,
        doubted=doubted | parent.doubted if nested and parent is not None else doubted,
    )
    source = info.source
    world.flow(("return", info.key, ""), NOTHING, source, info.node, into=source)
    bind_parameters(world, frame, info)
    Interpreter(world, frame).block(info.node.body)


_I = Interpreter
_HANDLERS: dict[type[ast.stmt], Callable[..., bool]] = {
    ast.If: _I._if,
    ast.Match: _I._match,
    ast.For: _I._loop,
    ast.AsyncFor: _I._loop,
    ast.While: _I._loop,
    ast.Try: _I._try,
    ast.TryStar: _I._try,
    ast.With: _I._with,
    ast.AsyncWith: _I._with,
    ast.Assign: _I._assign,
    ast.AnnAssign: _I._annotated,
    ast.AugAssign: _I._augmented,
    ast.Expr: _I._expression,
    ast.Return: _I._return,
    ast.Raise: _I._raise,
    ast.Assert: _I._assert,
    ast.Delete: _I._delete,
    ast.Continue: _I._leave,
    ast.Break: _I._leave,
    ast.Global: _I._global,
    ast.Nonlocal: _I._global,
    ast.Import: _I._import,
    ast.ImportFrom: _I._import_from,
    ast.ClassDef: _I._class,
    ast.FunctionDef: _I._function,
    ast.AsyncFunctionDef: _I._function,
}
