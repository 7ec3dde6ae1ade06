"""Enums made by a call (`Colour = Enum("Colour", "RED GREEN")`), told as the class statement they stand for."""

from __future__ import annotations

import ast

from chaosd.preflight.index.declared import dotted

ENUM_BASES = frozenset({"Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"})


def class_from_call(node: ast.Assign) -> ast.ClassDef | None:
    """The class statement that means the same as `node`, or None when it is no functional enum.

    A call whose members are computed gives a class that calls `locals()`, which marks it as open.
    """
    call = node.value
    if not (isinstance(call, ast.Call) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
        return None
    base = dotted(call.func)
    if base is None or base.rpartition(".")[2] not in ENUM_BASES or not call.args:
        return None
    names = _names(call)
    body: list[ast.stmt] = []
    if names is None:
        body.append(ast.Expr(ast.Call(ast.Name("locals", ast.Load()), [], [])))
    else:
        body.extend(ast.Assign([ast.Name(name, ast.Store())], ast.Constant(0)) for name in names)
    bases = [keyword.value for keyword in call.keywords if keyword.arg == "type"]
    made = ast.ClassDef(node.targets[0].id, [*bases, call.func], [], body or [ast.Pass()], [])
    return ast.fix_missing_locations(ast.copy_location(made, node))


def _names(call: ast.Call) -> list[str] | None:
    given = call.args[1] if len(call.args) > 1 else next((k.value for k in call.keywords if k.arg == "names"), None)
    if given is None or len(call.args) > 2:
        return None
    if isinstance(given, ast.Constant) and isinstance(given.value, str):
        return given.value.replace(",", " ").split()
    if isinstance(given, ast.Dict):
        keys: list[object] = [key.value if isinstance(key, ast.Constant) else None for key in given.keys]
    elif isinstance(given, ast.List | ast.Tuple):
        keys = [_first(item) for item in given.elts]
    else:
        return None
    names = [key for key in keys if isinstance(key, str)]
    return names if len(names) == len(keys) else None


def _first(item: ast.expr) -> object:
    """The name in `"RED"` or `("RED", 1)`."""
    if isinstance(item, ast.Tuple | ast.List) and item.elts:
        item = item.elts[0]
    return item.value if isinstance(item, ast.Constant) else None
