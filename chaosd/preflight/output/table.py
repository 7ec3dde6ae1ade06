"""All formats, one line each. A new format is one file and one line here.

A format is imported when it is asked for: those that list the rules import the whole analysis, which an answer from the
cache can do without.
"""

from __future__ import annotations

from importlib import import_module

from chaosd.preflight.report import Report

FORMATS = {
    "text": "chaosd.preflight.output.text",
    "json": "chaosd.preflight.output.json_",
    "github": "chaosd.preflight.output.github",
    "sarif": "chaosd.preflight.output.sarif",
    "junit": "chaosd.preflight.output.junit",
}


def render(report: Report, format_: str) -> str:
    """The report in one of the formats."""
    return str(import_module(FORMATS[format_]).render(report))
