"""The formats of a report: one line each. A new format is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaosd.report import github, html, junit, markdown, model, terminal
from chaosd.report.model import Picture, Report


@dataclass(frozen=True, slots=True)
class Format:
    """How a report is written: `render` gives the whole text."""

    name: str
    help_line: str
    render: Callable[[Report, Picture], str]


def _json(report: Report, picture: Picture) -> str:
    return model.encode(report).decode()


FORMATS = {
    one.name: one
    for one in (
        Format("terminal", "a summary in plain text", terminal.render),
        Format("html", "one page with the charts, nothing loaded from elsewhere", html.render),
        Format("json", "verdict.json", _json),
        Format("junit", "JUnit XML: the run and each verifier as a test case", junit.render),
        Format("markdown", "for a merge request or a chat", markdown.render),
        Format("github", "annotations for GitHub Actions, and its step summary", github.render),
    )
}
