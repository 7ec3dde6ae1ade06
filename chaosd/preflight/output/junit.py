"""JUnit: a rule is a test case, which fails with all its findings."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from chaosd.preflight.output.paths import from_here
from chaosd.preflight.report import EVOLVED, UNUSED, Report
from chaosd.preflight.rules.table import RULES

# Characters that XML 1.0 cannot hold at all, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """A test suite with one case for each rule."""
    names = [*(rule.name for rule in RULES), EVOLVED, UNUSED]
    found: dict[str, list[str]] = {name: [] for name in names}
    for finding in report.findings:
        line = f"{from_here(report, finding.path)}:{finding.line}: {finding.message}"
        found.setdefault(finding.rule, []).append(_NOT_XML.sub("?", line))
    failed = sum(bool(lines) for lines in found.values())
    rows = ['<?xml version="1.0" encoding="UTF-8"?>']
    rows.append(f'<testsuite name="chaosd preflight" tests="{len(found)}" failures="{failed}" errors="0" skipped="0">')
    for name, lines in found.items():
        rows.append(f'  <testcase classname="chaosd.preflight" name={quoteattr(name)}{"" if lines else "/"}>')
        if lines:
            count = f"{len(lines)} finding{'' if len(lines) == 1 else 's'}"
            rows.append(f"    <failure message={quoteattr(count)}>{escape(chr(10).join(lines))}</failure>")
            rows.append("  </testcase>")
    rows.append("</testsuite>")
    return "\n".join(rows)
