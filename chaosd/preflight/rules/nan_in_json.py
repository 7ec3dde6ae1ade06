"""nan-in-json: NaN or an infinity is written as JSON, which has neither; strict readers refuse the whole record."""

from __future__ import annotations

from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.rules.carried import dumped, odd_number
from chaosd.preflight.rules.rule import Rule, at


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use, node in dumped(analysis, "allow_nan"):
        where = odd_number(analysis.record.of(node.args[0]))
        if where is not None:
            place = f" at {where}" if where else ""
            text = f"NaN or an infinity{place} is no JSON: strict readers refuse the record; send null, or a str"
            yield at(rule.name, use, node, text, symbol=f"nan{where}")


rule = Rule("nan-in-json", "NaN or an infinity written as JSON", _find)
