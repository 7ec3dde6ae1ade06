"""optional-parameter: a collaborator that may be left out, is left out somewhere, and is used without a question."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import ClassInfo, FunctionInfo, dotted
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Instance, Site
from chaosd.preflight.rules.rule import Rule, at, gathered, uses, vouched_for


def _find(analysis: Analysis) -> Iterator[Finding]:
    asked: dict[str, set[str]] = {}
    kept = dict(gathered(analysis, _kept))
    for use in uses(analysis, ast.Attribute):
        node = use.node
        if not isinstance(node, ast.Attribute) or not use.certain or use.function is None or hasattr(None, node.attr):
            continue
        found = _left_out(analysis, use.function, node.value, kept)
        if found is None or vouched_for(analysis, use, node.attr):
            continue
        name, site = found
        if use.function.key not in asked:
            asked[use.function.key] = _asked_about(use.function.node)
        if name not in asked[use.function.key]:
            text = f"{name} may be left out, and is at {site}: then None has no attribute {node.attr!r}"
            yield at(rule.name, use, node, text, symbol=f"{use.function.name}.{name}", defined_at=str(site))


def _left_out(
    analysis: Analysis, function: FunctionInfo, node: ast.expr, kept: dict[tuple[str, str], Site]
) -> tuple[str, Site] | None:
    """The parameter, or the attribute that keeps one, with a call that leaves it out."""
    if isinstance(node, ast.Name):
        if node.id not in _optional(function):
            return None
        site = _omitted(analysis, function, node.id)
        return None if site is None else (node.id, site)
    path = dotted(node) or ""
    if isinstance(node, ast.Attribute) and path.startswith("self.") and path.count(".") == 1 and function.cls:
        for atom in analysis.record.of(node.value).atoms:
            if isinstance(atom, Instance) and (atom.cls, node.attr) in kept:
                return path, kept[atom.cls, node.attr]
    return None


def _optional(function: FunctionInfo) -> set[str]:
    spec = function.node.args
    places = [*spec.posonlyargs, *spec.args]
    pairs = list(zip(places[len(places) - len(spec.defaults) :], spec.defaults, strict=True))
    pairs += [(item, default) for item, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default]
    return {item.arg for item, default in pairs if isinstance(default, ast.Constant) and default.value is None}


def _omitted(analysis: Analysis, function: FunctionInfo, name: str) -> Site | None:
    sites = [site for site, _ in analysis.flows.sites.get(("omitted", function.key, name), ())]
    return min(sites, key=lambda site: (site.path, site.line), default=None)


def _kept(analysis: Analysis) -> set[tuple[tuple[str, str], Site]]:
    """Attributes that hold nothing but an optional parameter of the constructor that some call leaves out."""
    found: set[tuple[tuple[str, str], Site]] = set()
    for key, info in analysis.project.classes.items():
        init = info.methods.get("__init__")
        if init is None or info.source.module not in analysis.part or analysis.shapes.of(key).surprises:
            continue
        optional = _optional(init)
        if not optional:
            continue
        asked = _asked_in_class(analysis, info)
        for statement in init.node.body:
            name = _plainly_kept(statement, optional)
            if name is None or f"self.{name[0]}" in asked or _stored_again(analysis, info, name[0]):
                continue
            site = _omitted(analysis, init, name[1])
            if site is not None and name[1] not in _asked_about(init.node):
                found.add(((key, name[0]), site))
    return found


def _plainly_kept(statement: ast.stmt, optional: set[str]) -> tuple[str, str] | None:
    """Attribute and parameter of `self.attribute = parameter`."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, value = statement.target, statement.value
    else:
        return None
    path = dotted(target) or ""
    plain = path.startswith("self.") and path.count(".") == 1
    return (path[5:], value.id) if plain and isinstance(value, ast.Name) and value.id in optional else None


def _stored_again(analysis: Analysis, info: ClassInfo, name: str) -> bool:
    if name in analysis.project.patched:
        return True
    family = [info.key, *analysis.project.subclasses.get(info.key, ())]
    stores = 0
    for cls in family:
        for node in walk(analysis.project.classes[cls].node):
            stores += isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)
    return stores != 1


def _asked_in_class(analysis: Analysis, info: ClassInfo) -> set[str]:
    asked = _asked_about(info.node)
    for cls in analysis.project.subclasses.get(info.key, ()):
        asked |= _asked_about(analysis.project.classes[cls].node)
    return asked


def _asked_about(scope: ast.AST) -> set[str]:
    """The dotted names that a scope tests, compares, or gives another value."""
    found: set[str] = set()
    for node in walk(scope):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            parts = [node.test]
        elif isinstance(node, ast.BoolOp):
            parts = list(node.values)
        elif isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.UnaryOp):
            parts = [node.operand]
        elif isinstance(node, ast.comprehension):
            parts = list(node.ifs)
        elif isinstance(node, ast.Match):
            parts = [node.subject]
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        for part in parts:
            found.update(_names(part))
    return found


def _names(part: ast.AST | None) -> Iterator[str]:
    for inner in walk(part) if part is not None else ():
        path = dotted(inner) if isinstance(inner, ast.Name | ast.Attribute) else None
        if path is not None:
            yield path


rule = Rule(
    "optional-parameter",
    "an optional collaborator that is left out, and used without a question",
    _find,
    gathers=(_kept,),
)
