"""syntax-error: a file that does not parse was not checked, and would not run."""

from __future__ import annotations

from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.rules.rule import Rule


def _find(analysis: Analysis) -> Iterator[Finding]:
    for broken in analysis.project.broken:
        yield Finding(broken.path, broken.line, broken.column, "syntax-error", f"does not parse: {broken.problem}")


rule = Rule("syntax-error", "a file that does not parse", _find, once=True)
