"""unknown-enum-value: a literal that no member has, and a routing table that does not know all members."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.errors import nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.index.enums import Members, members
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import ClassRef, Instance, Values, texts
from chaosd.preflight.infer.world import Use
from chaosd.preflight.rules.rule import Rule, at, hint, uses

_SHARE_OF_A_TABLE = 0.5  # a dict that names fewer members than this is no routing table over the enum


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Call):
        yield from _called(analysis, use)
    for use in uses(analysis, ast.Compare):
        yield from _compared(analysis, use)
    for use in uses(analysis, ast.Match):
        yield from _matched(analysis, use)
    for use in uses(analysis, ast.Subscript):
        yield from _routed(analysis, use)


def _literal(analysis: Analysis, node: ast.expr) -> object:
    """The constant that an expression is, None when it is not certain."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int) and not isinstance(node.value, bool):
        return node.value
    names = texts(analysis.record.of(node))
    return names[0] if names is not None and len(names) == 1 else None


def _unknown(analysis: Analysis, cls: str, value: object) -> Members | None:
    known = members(analysis.project, cls)
    shape = analysis.shapes.of(cls)
    if known is None or known.values is None or not known.names or shape.surprises or value in known.values:
        return None
    return known


def _told(analysis: Analysis, use: Use, node: ast.AST, cls: str, value: object) -> Iterator[Finding]:
    known = _unknown(analysis, cls, value)
    if known is not None and known.values is not None:
        info = analysis.project.classes[cls]
        near = nearest(str(value), [str(own) for own in known.values])
        text = f"no member of {info.name} has the value {value!r}{hint(near)}"
        yield at(rule.name, use, node, text, symbol=f"{info.name}={value}", defined_at=info.place)


def _called(analysis: Analysis, use: Use) -> Iterator[Finding]:
    node = use.node
    if not isinstance(node, ast.Call) or len(node.args) != 1 or node.keywords:
        return
    classes = [atom.cls for atom in analysis.record.of(node.func).atoms if isinstance(atom, ClassRef) and atom.exact]
    value = _literal(analysis, node.args[0])
    is_enum = len(classes) == 1 and value is not None and analysis.shapes.of(classes[0]).is_enum
    if is_enum and not _expects_value_error(use):
        yield from _told(analysis, use, node, classes[0], value)


def _expects_value_error(use: Use) -> bool:
    """A handler for ValueError, or a test that expects one, in the same function."""
    scope = use.function.node if use.function is not None else None
    for part in walk(scope) if scope is not None else ():
        if isinstance(part, ast.ExceptHandler) and (part.type is None or "ValueError" in ast.unparse(part.type)):
            return True
        if isinstance(part, ast.With | ast.AsyncWith) and any("suppress" in ast.unparse(i) for i in part.items):
            return True
    return False


def _enum_of(analysis: Analysis, values: Values) -> str | None:
    """The enum that an expression is a member of, for certain."""
    classes = {atom.cls for atom in values.atoms if isinstance(atom, Instance)}
    if (
        values.open
        or len(classes) != 1
        or len(values.atoms) != len({a for a in values.atoms if isinstance(a, Instance)})
    ):
        return None
    cls = classes.pop()
    shape = analysis.shapes.of(cls)
    own = any("__eq__" in info.methods for info in analysis.project.lineage(cls)[0])
    return cls if shape.is_enum and not own else None


def _compared(analysis: Analysis, use: Use) -> Iterator[Finding]:
    node = use.node
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return
    pairs = [(node.left, node.comparators[0]), (node.comparators[0], node.left)]
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        container = node.comparators[0]
        items = container.elts if isinstance(container, ast.Tuple | ast.List | ast.Set) else []
        pairs = [(node.left, item) for item in items]
    elif not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return
    for one, other in pairs:
        cls = _enum_of(analysis, analysis.record.of(one))
        value = other.value if isinstance(other, ast.Constant) else _literal(analysis, other)
        if cls is not None and isinstance(value, str) and not isinstance(other, ast.Attribute):
            yield from _never_equal(analysis, use, node, cls, value)


def _never_equal(analysis: Analysis, use: Use, node: ast.AST, cls: str, value: str) -> Iterator[Finding]:
    if analysis.shapes.of(cls).is_text:
        yield from _told(analysis, use, node, cls, value)
        return
    known = members(analysis.project, cls)
    if known is not None and not analysis.shapes.of(cls).surprises:
        info = analysis.project.classes[cls]
        near = known.name_of(value)
        text = f"a member of {info.name} never equals a str{'; compare with ' + info.name + '.' + near if near else ''}"
        yield at(rule.name, use, node, text, symbol=f"{info.name}={value}", defined_at=info.place)


def _matched(analysis: Analysis, use: Use) -> Iterator[Finding]:
    if not isinstance(use.node, ast.Match):
        return
    subject = use.node.subject
    cls = _enum_of(analysis, analysis.record.of(subject))
    for case in use.node.cases if cls is not None else ():
        for part in walk(case.pattern):
            literal = part.value if isinstance(part, ast.MatchValue) else None
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                yield from _never_equal(analysis, use, literal, cls or "", literal.value)


def _routed(analysis: Analysis, use: Use) -> Iterator[Finding]:
    """`ROUTES[event.type]` where ROUTES is written out over an enum's members, and some are not in it."""
    node = use.node
    if (
        not isinstance(node, ast.Subscript)
        or not isinstance(node.ctx, ast.Load)
        or not isinstance(node.value, ast.Name)
    ):
        return
    cls = _enum_of(analysis, analysis.record.of(node.slice))
    table = _table(analysis, use, node.value.id)
    if (
        cls is None
        or table is None
        or any(isinstance(atom, Instance) and atom.exact for atom in _atoms(analysis, node))
    ):
        return
    named = _named_members(analysis, table, cls)
    known = members(analysis.project, cls)
    if named is None or known is None or _asks(use, node.value.id, ast.unparse(node.slice)):
        return
    missing = [name for name in known.names if name not in named]
    if missing and len(named) > len(known.names) * _SHARE_OF_A_TABLE:
        text = f"{node.value.id} has no entry for {', '.join(missing)}"
        place = f"{use.source.path}:{table.lineno}"
        yield at(rule.name, use, node, text, symbol=f"{node.value.id}[{missing[0]}]", defined_at=place)


def _atoms(analysis: Analysis, node: ast.Subscript) -> frozenset[object]:
    return frozenset(analysis.record.of(node.slice).atoms)


def _table(analysis: Analysis, use: Use, name: str) -> ast.Dict | None:
    """The dict that a module-level name is bound to, once, in this module, and that nobody fills later."""
    tree = use.source.tree
    found = [n.value for n in tree.body if isinstance(n, ast.Assign) and any(_is(t, name) for t in n.targets)]
    found += [n.value for n in tree.body if isinstance(n, ast.AnnAssign) and n.value and _is(n.target, name)]
    if len(found) != 1 or not isinstance(found[0], ast.Dict):
        return None
    for part in walk(tree):
        if isinstance(part, ast.Subscript) and _is(part.value, name) and not isinstance(part.ctx, ast.Load):
            return None
        if isinstance(part, ast.Attribute) and _is(part.value, name) and part.attr in {"update", "setdefault"}:
            return None
    return found[0]


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _named_members(analysis: Analysis, table: ast.Dict, cls: str) -> set[str] | None:
    named: set[str] = set()
    for key in table.keys:
        if not isinstance(key, ast.Attribute):
            return None
        owners = {atom.cls for atom in analysis.record.of(key.value).atoms if isinstance(atom, ClassRef)}
        if owners != {cls}:
            return None
        named.add(key.attr)
    return named


def _asks(use: Use, table: str, key: str) -> bool:
    """The function compares, tests or catches: it may well know which members come here."""
    scope = use.function.node if use.function is not None else use.source.tree
    for part in walk(scope):
        if isinstance(part, ast.Compare) and ({table, key} & {ast.unparse(p) for p in (part.left, *part.comparators)}):
            return True
        if isinstance(part, ast.ExceptHandler) and (
            part.type is None
            or {"KeyError", "LookupError", "Exception"} & set(ast.unparse(part.type).strip("()").split(", "))
        ):
            return True
        if isinstance(part, ast.Match) and ast.unparse(part.subject) == key:
            return True
    return False


rule = Rule("unknown-enum-value", "a literal that no member of the enum has, a table without a member", _find)
