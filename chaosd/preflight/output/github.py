"""For GitHub Actions: workflow commands that become annotations on the changed lines.

The form and its escapes are those of the `@actions/core` toolkit: `%`, CR and LF in a message, and `:` and `,` too in a
property, are percent-encoded. Annotations want paths relative to the repository, which is taken to be the working
folder; a root given as a relative path is put in front.
"""

from __future__ import annotations

from chaosd.preflight.output.paths import from_here
from chaosd.preflight.report import Report


def render(report: Report) -> str:
    """One `::error` command for each finding, then a notice with the summary."""
    lines = [
        f"::error file={_property(from_here(report, finding.path))},line={finding.line},col={finding.column + 1},"
        f"title={_property(finding.rule)}::{_message(finding.message)}"
        for finding in report.findings
    ]
    done = (
        f"{report.files} files, {report.calls_resolved} of {report.calls} calls resolved, {report.unparsed} not parsed"
    )
    return "\n".join([*lines, f"::notice title=chaosd preflight::{_message(done)}"])


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
