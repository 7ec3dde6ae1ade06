"""protocol-signature: a method is there, and cannot be called the way its protocol says."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import FunctionInfo
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.world import World
from chaosd.preflight.rules.binding import plain
from chaosd.preflight.rules.call_signature import function_misfit, place_of, shown
from chaosd.preflight.rules.evidence import methods_of, passed, protocols
from chaosd.preflight.rules.rule import Rule


def _find(analysis: Analysis) -> Iterator[Finding]:
    world = World(analysis.project, analysis.shapes)
    told: set[tuple[str, str]] = set()
    for protocol, key in protocols(analysis, analysis.project.modules):
        for site, cls in passed(analysis, key):
            for name, wanted in (methods_of(analysis, protocol) or {}).items():
                given = world.method(cls, name)
                if given is None or given.cls == protocol.key or (given.key, wanted.key) in told:
                    continue
                problem = _problem(analysis, wanted, given)
                if problem and given.source.reported:
                    told.add((given.key, wanted.key))
                    text = f"{shown(analysis, given)} {problem}; it is passed as {protocol.name} at {site}"
                    yield Finding(
                        given.source.path, given.node.lineno, given.node.col_offset, rule.name, text,
                        symbol=shown(analysis, given), defined_at=place_of(wanted),
                    )  # fmt: skip


def _problem(analysis: Analysis, wanted: FunctionInfo, given: FunctionInfo) -> str | None:
    if not plain(given) or not plain(wanted) or wanted.is_static or given.is_static or given.is_class_method:
        return None
    for call in _ways_to_call(wanted):
        problem = function_misfit(analysis, given, call, skip=1)
        if problem:
            return problem
    yields = analysis.flows.get(("yields", given.key, "")) is not None
    if isinstance(wanted.node, ast.AsyncFunctionDef) and isinstance(given.node, ast.FunctionDef) and not yields:
        returns = analysis.flows.get(("return", given.key, ""))
        if returns is not None and not returns.open and given.node.returns is None and not returns.atoms:
            return "is not async"
        if given.node.returns is not None and not _gives_awaitable(given.node.returns):
            return "is not async"
    return None


def _gives_awaitable(annotation: ast.expr) -> bool:
    text = ast.unparse(annotation)
    plain_names = {"None", "str", "int", "bool", "float", "bytes", "dict", "list"}
    return text.partition("[")[0] not in plain_names


def _ways_to_call(wanted: FunctionInfo) -> Iterator[ast.Call]:
    """With what is required only, and with everything."""
    spec = wanted.node.args
    places = [item.arg for item in (*spec.posonlyargs, *spec.args)][1:]
    required = places[: len(places) - len(spec.defaults)] if spec.defaults else places
    needed = [item.arg for item, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default is None]
    for count, words in ((len(required), needed), (len(places), [item.arg for item in spec.kwonlyargs])):
        arguments: list[ast.expr] = [ast.Constant(None) for _ in range(count)]
        yield ast.Call(ast.Name("f", ast.Load()), arguments, [ast.keyword(name, ast.Constant(None)) for name in words])


rule = Rule("protocol-signature", "a method that cannot be called the way its protocol says", _find, once=True)
