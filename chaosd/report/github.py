"""For GitHub Actions: workflow commands that become annotations of the job, and of the experiment's file.

The form and its escapes are those of the `@actions/core` toolkit. The summary of the step is Markdown and a file of its
own ($GITHUB_STEP_SUMMARY): `chaosd report --format github` appends it there.
"""

from __future__ import annotations

import shlex

from chaosd.report import telling
from chaosd.report.model import Picture, Report
from chaosd.report.telling import printable

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
_LEVELS = {"PASS": "notice", "FAIL": "error", "INCONCLUSIVE": "warning"}
_REASONS_MAX = 8  # GitHub shows ten annotations of a step


def render(report: Report, picture: Picture) -> str:
    """One annotation with the verdict, one for each reason."""
    level, file = _LEVELS.get(report.verdict, "error"), _file(report)
    if report.known is not None and report.known.matched:
        level = "notice"
    head = f"{report.verdict}: {report.title or report.experiment} (run {report.run_id}, seed {report.seed})"
    lines = [command(level, "chaosd", head, file=file)]
    for reason in telling.reasons(report)[:_REASONS_MAX]:
        count = f"{reason.count:,} × " if reason.count else ""
        about = f" – {reason.about}" if reason.about else ""
        text = f"{count}{reason.code}: {reason.meaning or reason.code.replace('_', ' ')}{about}"
        lines.append(command(level, f"chaosd {reason.by}".strip(), text, file=file))
    return "\n".join(lines) + "\n"


def command(level: str, title: str, message: str, *, file: str = "", line: int = 0, column: int = 0) -> str:
    """One workflow command: `level` is error, warning or notice; the file is relative to the repository."""
    places = {"file": file, "line": line or "", "col": column or "", "title": title}
    inside = ",".join(f"{key}={_property(str(value))}" for key, value in places.items() if value != "")
    return f"::{level} {inside}::{_message(message)}"


def _file(report: Report) -> str:
    """The experiment's file, where the command that repeats the run names one."""
    try:
        words = shlex.split(report.setting.command)
    except ValueError:
        return ""
    return next((word for word in words if word.endswith((".yaml", ".yml")) and not word.startswith("/")), "")


def _message(text: str) -> str:
    return printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
