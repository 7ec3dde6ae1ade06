"""What a rule is: a stable name, one line for people, and a function from an analysis to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
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


def hint(nearest: str | None) -> str:
    """The end of a message that offers the nearest name."""
    return f"; did you mean {nearest!r}?" if nearest else ""
