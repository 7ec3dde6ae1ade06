"""All formats, one line each. A new format is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from chaosd.preflight.check import Report
from chaosd.preflight.output import github, json_, junit, sarif, text

FORMATS: dict[str, Callable[[Report], str]] = {
    "text": text.render,
    "json": json_.render,
    "github": github.render,
    "sarif": sarif.render,
    "junit": junit.render,
}
