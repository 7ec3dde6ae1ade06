"""Whether the arguments of a call fit the parameters of a function: what Python itself would say."""

from __future__ import annotations

import ast

from chaosd.kernel.errors import nearest
from chaosd.preflight.index.declared import FunctionInfo
from chaosd.preflight.rules.rule import hint


def misfit(function: FunctionInfo, call: ast.Call, *, skip: int) -> str | None:
    """What is wrong with a call, None when it fits; `skip` parameters are bound already (self, cls)."""
    spec = function.node.args
    only = [item.arg for item in spec.posonlyargs]
    places = [*only, *(item.arg for item in spec.args)]
    skip = 0 if function.is_static else skip
    if skip and not places and spec.vararg is None:
        return "takes no argument, not even self"
    places, only = places[skip:], only[skip:]
    by_keyword = {name for name in places if name not in only} | {item.arg for item in spec.kwonlyargs}
    spread = any(isinstance(item, ast.Starred) for item in call.args)
    count = sum(not isinstance(item, ast.Starred) for item in call.args)
    if count > len(places) and spec.vararg is None:
        return f"takes {_arguments(len(places))} by place, {count} given"
    given = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
    for name in sorted(given):
        if name not in by_keyword and spec.kwarg is None:
            return f"has no parameter {name!r}{hint(nearest(name, sorted(by_keyword)))}"
    twice = given & set(places[:count]) & by_keyword
    if twice:
        return f"gets {min(twice)!r} twice"
    if spread or any(keyword.arg is None for keyword in call.keywords):
        return None
    return _left_out(function, places, count, given)


def _left_out(function: FunctionInfo, places: list[str], count: int, given: set[str]) -> str | None:
    spec = function.node.args
    required = places[: len(places) - len(spec.defaults)] if spec.defaults else places
    pairs = zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    missing = [name for name in required[count:] if name not in given]
    missing += [item.arg for item, default in pairs if default is None and item.arg not in given]
    return f"needs {', '.join(map(repr, missing))}" if missing else None


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"


def plain(function: FunctionInfo) -> bool:
    """Whether a function is what its `def` says: no decorator that could change its parameters."""
    return all(name.rpartition(".")[2] in _KEEP_PARAMETERS for name in function.decorators)


_KEEP_PARAMETERS = frozenset(
    "staticmethod classmethod abstractmethod override final cache lru_cache contextmanager asynccontextmanager".split()
)
