"""What a rule is: a stable name, one line for people, and a function from an analysis to findings."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import FunctionRef
from chaosd.preflight.infer.world import Use


@dataclass(frozen=True, slots=True)
class Rule:
    """`name` is what a suppression names and what docs/preflight/<name>.md explains."""

    name: str
    summary: str
    find: Callable[[Analysis], Iterator[Finding]]


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
