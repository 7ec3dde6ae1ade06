"""not-json: `json.dumps` is given a value that JSON cannot carry: a TypeError when it runs."""

from __future__ import annotations

from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.rules.carried import dumped, worst
from chaosd.preflight.rules.rule import Rule, at


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use, node in dumped(analysis, "default", "cls"):
        found = worst(analysis, analysis.record.of(node.args[0]))
        if found is not None:
            where, kind = found
            place = f" at {where.strip()}" if where else ""
            text = f"JSON cannot carry a {kind}{place}; give json.dumps a default=, or convert it first"
            yield at(rule.name, use, node, text, symbol=f"{kind}{where}")


rule = Rule("not-json", "a value that JSON cannot carry", _find)
