"""call-signature: a call whose arguments do not fit the function: how many, their names, what is required."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import ClassInfo, FunctionInfo
from chaosd.preflight.index.fields import record
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Atom, ClassRef, FunctionRef, SuperOf
from chaosd.preflight.rules.binding import misfit, plain
from chaosd.preflight.rules.rule import Rule, at, uses, vouched_for

_WITHOUT_ARGUMENTS = frozenset({"builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol"})


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Call):
        node = use.node
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        doubtful = isinstance(called, ast.Attribute) and (
            vouched_for(analysis, use, called.attr) or _cooperative(analysis, called)
        )
        if doubtful:
            continue
        values = analysis.record.of(node.func)
        if values.open:
            continue
        faults = [_fault(analysis, atom, node) for atom in sorted(values.atoms, key=str)]
        told = [fault for fault in faults if fault is not None]
        if told and len(told) == len(faults):
            name, problem, place = told[0]
            yield at(rule.name, use, node, f"{name} {problem}", symbol=name, defined_at=place)


_Fault = tuple[str, str, str]


def _fault(analysis: Analysis, atom: Atom, node: ast.Call) -> _Fault | None:
    """Name of the callee, what is wrong, where it is defined."""
    if isinstance(atom, FunctionRef):
        function = analysis.project.functions[atom.function]
        problem = function_misfit(analysis, function, node, skip=1 if atom.bound else 0)
        return None if problem is None else (shown(analysis, function), problem, place_of(function))
    if isinstance(atom, ClassRef) and atom.exact:
        return _construction(analysis, atom.cls, node)
    return None


def function_misfit(analysis: Analysis, function: FunctionInfo, node: ast.Call, *, skip: int) -> str | None:
    """What is wrong with a call of a function that is defined once and plainly; None when nothing is, or in doubt."""
    if not plain(function) or "#" in function.key:
        return None
    holder = analysis.project.classes.get(function.cls or "")
    if holder is not None and function.name in holder.redefined:
        return None
    return misfit(function, node, skip=skip)


def shown(analysis: Analysis, function: FunctionInfo) -> str:
    """`Class.method()` or `function()`."""
    holder = analysis.project.classes.get(function.cls or "")
    return f"{holder.name}.{function.name}()" if holder is not None else f"{function.name}()"


def place_of(function: FunctionInfo) -> str:
    """`file:line` of a definition."""
    return f"{function.source.path}:{function.node.lineno}"


def _construction(analysis: Analysis, cls: str, node: ast.Call) -> _Fault | None:
    shape, info = analysis.shapes.of(cls), analysis.project.classes[cls]
    chain, outside = analysis.project.lineage(cls)
    own = any("__new__" in part.methods or "__init_subclass__" in part.methods for part in chain)
    doubtful = any("metaclass" in why or "decorator" in why for why in shape.surprises)
    if shape.is_enum or shape.is_protocol or own or doubtful:
        return None
    init = next((part.methods["__init__"] for part in chain if "__init__" in part.methods), None)
    if init is not None:
        if any("__init__" in part.members and "__init__" not in part.methods for part in chain):
            return None
        problem = function_misfit(analysis, init, node, skip=1)
        return None if problem is None else (f"{info.name}()", problem, place_of(init))
    known = record(analysis.project, cls)
    if known is not None:
        places = sum(field.init and not field.keyword_only for field in known.fields)
        plain_call = not any(isinstance(item, ast.Starred) for item in node.args)
        if plain_call and len(node.args) > places and known.kind != "typeddict":
            return f"{info.name}()", f"takes {places} fields by place, {len(node.args)} given", info.place
        return None
    return _of_object(chain, outside, node, info)


def _of_object(chain: list[ClassInfo], outside: list[str | None], node: ast.Call, info: ClassInfo) -> _Fault | None:
    """A class without any constructor takes no arguments."""
    bare = all(base in _WITHOUT_ARGUMENTS for base in outside) and not any(part.decorators for part in chain)
    takes_none = bare and not any("__init__" in part.members or part.node.keywords for part in chain)
    given = bool(node.args) or any(keyword.arg for keyword in node.keywords)
    if takes_none and given and not any(isinstance(item, ast.Starred) for item in node.args):
        return f"{info.name}()", "takes no arguments", info.place
    return None


def _cooperative(analysis: Analysis, called: ast.Attribute) -> bool:
    """`super().method(…)` where classes are mixed: the next in line may be another class than the base."""
    for atom in analysis.record.of(called.value).atoms:
        if isinstance(atom, SuperOf):
            around = [atom.cls, *analysis.project.subclasses.get(atom.cls, ())]
            if any(len(analysis.project.classes[cls].bases) > 1 for cls in around):
                return True
    return False


rule = Rule("call-signature", "a call whose arguments do not fit what is called", _find)
