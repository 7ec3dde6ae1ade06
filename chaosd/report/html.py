"""The report as one HTML file: no script, nothing loaded from elsewhere, light and dark, fit for paper."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from chaosd.report import svg, telling
from chaosd.report.model import Picture, Recovery, Report
from chaosd.report.words import CLASSES

_TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report, picture: Picture) -> str:
    """The whole page. Every text of the report is escaped; only the chart is markup, and it escapes its own labels."""
    page = _environment().get_template("report.html.j2")
    return page.render(
        report=report,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704 -- our own file
        chart=Markup(_chart(report, picture)),  # noqa: S704 -- svg.py escapes its labels
        drawn=bool(picture.curves or picture.phases),
        kinds=[curve.kind for curve in picture.curves],
        reasons=telling.reasons(report),
        remedies=telling.remedies(report.reasons),
        figures=telling.figures(report),
        classes=CLASSES,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "duration": telling.duration,
        "interval": telling.interval,
        "parameters": telling.parameters,
        "evidence": telling.evidence,
        "entry": telling.entry,
        "why": telling.why,
        "number": _number,
        "words": _words,
    }
    environment.filters.update(filters)
    return environment


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _chart(report: Report, picture: Picture) -> str:
    curves = [
        svg.Curve("results" if curve.kind == "output" else "errors", picture.t_s, curve.low_ms, curve.high_ms, theta)
        for curve in picture.curves
        for theta in [curve.threshold_ms]
    ]
    faults = [
        svg.Band("fault", fault.from_s, fault.until_s or picture.until_s, f"{fault.fault} on {fault.on}")
        for fault in report.faults
        if fault.from_s is not None
    ]
    phases = [svg.Band("phase", phase.from_s, phase.until_s, phase.name) for phase in picture.phases]
    rates = svg.Rates(picture.rate_t_s, picture.sent_hz, picture.results_hz)
    recoveries = [_recovering(one) for one in report.recovery if one.zero_s is not None]
    return svg.chart(curves, faults, phases, recoveries, rates, picture.until_s)


def _recovering(one: Recovery) -> svg.Recovering:
    return svg.Recovering(
        zero_s=one.zero_s or 0.0,
        low_s=one.low_ms / 1000,
        high_s=None if one.high_ms is None else one.high_ms / 1000,
        limit_s=one.limit_ms / 1000,
        label=f"recovery {telling.interval(one)} of {telling.duration(one.limit_ms)}",
        grade=one.verdict.lower(),
    )
