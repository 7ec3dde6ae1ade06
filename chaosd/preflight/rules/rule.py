"""What a rule is: a stable name, one line for people, and a function from an analysis to findings."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import FunctionRef
from chaosd.preflight.infer.world import Use
from chaosd.process.crew import Exchange

T = TypeVar("T")
Gather = Callable[[Analysis], set[T]]  # facts of a part of a project, those of all parts are united


@dataclass(frozen=True, slots=True)
class Rule:
    """`name` is what a suppression names and what docs/preflight/<name>.md explains.

    Several processes may each apply it to a part of the project, with a record of that part only; a rule that asks for
    what is recorded anywhere names in `gathers` the functions that gather it. One that needs no record is applied
    `once`. `one_per_place`: of several findings at one place the least is told.
    """

    name: str
    summary: str
    find: Callable[[Analysis], Iterator[Finding]]
    gathers: tuple[Gather[Any], ...] = ()
    once: bool = False
    one_per_place: bool = False


def gathered(analysis: Analysis, gather: Gather[T]) -> frozenset[T]:
    """The facts of the whole project. Raises LookupError when only a part's can be known: the rule does not name it."""
    name = f"{gather.__module__}.{gather.__name__}"
    if name not in analysis.gathered:
        if analysis.is_partial:
            raise LookupError(f"{name} is not among what its rule gathers")
        analysis.gathered[name] = frozenset(gather(analysis))
    return cast("frozenset[T]", analysis.gathered[name])


def gather_all(analysis: Analysis, rules: Iterable[Rule], exchange: Exchange) -> None:
    """Gather what the rules ask of the whole project."""
    own = {
        f"{gather.__module__}.{gather.__name__}": frozenset(gather(analysis))
        for gather in dict.fromkeys(gather for rule in rules for gather in rule.gathers)
    }
    for found in exchange(own):
        for name, facts in found.items():
            analysis.gathered[name] = analysis.gathered.get(name, frozenset()) | facts


def vouched_for(analysis: Analysis, use: Use, attribute: str) -> bool:
    """Somebody stores the attribute from outside, or asks whether it is there, or is ready for its absence."""
    patched = analysis.project.patched.get(attribute)
    if patched is not None and (patched or use.source.is_test):
        return True
    return use.guarded or attribute in analysis.project.modules[use.source.module].probed


def at(rule: str, use: Use, node: ast.AST, message: str, *, symbol: str = "", defined_at: str = "") -> Finding:
    """A finding at a node; of an attribute, where its name stands."""
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    if isinstance(node, ast.Attribute):
        line, column = node.end_lineno or line, (node.end_col_offset or 0) - len(node.attr)
    return Finding(use.source.path, line, column, rule, message, symbol=symbol, defined_at=defined_at)


def uses(analysis: Analysis, *kinds: type[ast.AST]) -> Iterator[Use]:
    """The nodes of some kinds in what was asked for, those left out whose failure the code is ready for."""
    for kind in kinds:
        for use in analysis.record.uses.get(kind, []):
            if use.source.reported and not use.guarded:
                yield use


def called_functions(analysis: Analysis, callee: ast.expr) -> list[FunctionRef]:
    """The project functions that an expression is for certain, none when it may be anything else."""
    values = analysis.record.of(callee)
    found = [atom for atom in values.atoms if isinstance(atom, FunctionRef)]
    return sorted(found, key=str) if found and len(found) == len(values.atoms) and not values.open else []


def hint(nearest: str | None) -> str:
    """The end of a message that offers the nearest name."""
    return f"; did you mean {nearest!r}?" if nearest else ""
