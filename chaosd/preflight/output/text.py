"""For people: one line for each finding, and what was looked at."""

from __future__ import annotations

from chaosd.preflight.report import Report


def render(report: Report) -> str:
    """`file:line: rule: message (defined at file:line)`, then the summary."""
    lines = []
    for finding in report.findings:
        where = f" (defined at {finding.defined_at})" if finding.defined_at else ""
        low = " [low confidence]" if finding.confidence == "low" else ""
        lines.append(f"{finding.path}:{finding.line}: {finding.rule}: {finding.message}{where}{low}")
    share = f"{100 * report.calls_resolved / report.calls:.0f}% of " if report.calls else ""
    found, files = _count(len(report.findings), "finding"), _count(report.files, "file")
    summary = f"{found} in {files}, {share}{_count(report.calls, 'call')} resolved"
    if report.unparsed:
        summary += f"; {report.unparsed} not parsed, so this is only a part of the picture"
    return "\n".join([*lines, summary])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
