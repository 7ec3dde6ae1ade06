"""The report as Markdown: for a step summary of GitHub Actions, a merge request's note, a chat."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from chaosd.report import telling
from chaosd.report.model import Picture, Report, Verifier
from chaosd.report.telling import printable

_MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]|#~])")
_REASONS_MAX = 20
_ENTRIES_MAX = 20


def render(report: Report, picture: Picture) -> str:
    """The whole report: verdict, reasons, key figures, faults, verifiers, the first witness of each that failed."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"## {_MARKS.get(report.verdict, '')} {_text(report.verdict)}: {_text(report.title or report.experiment)}"
    yield ""
    if report.setting.aborted is not None:
        yield f"Ended early: {_text(report.setting.aborted)}"
        yield ""
    if report.known is not None:
        word = "Exactly the known failure" if report.known.matched else "Not the known failure"
        classes = _text(", ".join(report.known.classes))
        yield f"{word}: {_text(report.known.verdict)} {classes} {_text(report.known.why)}".rstrip()
        yield ""
    yield from _reasons(report)
    yield from _table(("", "", ""), ((f"**{f.name}**", f.value, f.note) for f in telling.figures(report)))
    yield from _faults(report)
    rows = (
        (v.name, f"{_MARKS.get(v.verdict, '')} {v.verdict}", counted(v) or telling.why(v)) for v in report.verifiers
    )
    yield from _table(("verifier", "verdict", ""), rows)
    for verifier in report.verifiers:
        if verifier.verdict == "FAIL" and verifier.witnesses:
            yield from _witness(verifier)
    yield from _places(report)


def _reasons(report: Report) -> Iterator[str]:
    reasons = telling.reasons(report)
    for reason in reasons[:_REASONS_MAX]:
        count = f"{reason.count:,} × " if reason.count else ""
        about = f" – {_text(reason.about)}" if reason.about else ""
        meaning = reason.meaning or reason.code.replace("_", " ")
        yield f"- **{count}{_text(reason.code)}** {_text(meaning)}{about}"
    if len(reasons) > _REASONS_MAX:
        yield f"- … and {len(reasons) - _REASONS_MAX} more"
    for remedy in telling.remedies(report.reasons):
        yield f"- *Remedy:* {_text(remedy)}"
    if reasons:
        yield ""


def _faults(report: Report) -> Iterator[str]:
    rows = (
        (f"{fault.fault} on {fault.on}", telling.parameters(fault), fault.bite, fault.healed, fault.exposed)
        for fault in report.faults
    )
    yield from _table(("fault", "as asked for", "bit", "healed", "exposed"), rows)


def _witness(verifier: Verifier) -> Iterator[str]:
    one = verifier.witnesses[0]
    who = f"stream {one.stream}, envelope {one.seq}" if one.stream >= 0 else "a record without identity"
    told = " · ".join(filter(None, (who, one.detail, one.hop)))
    yield f"<details><summary>{_html(one.anomaly)}: {_html(told)}</summary>"
    yield ""
    rows = ((f"{entry['at_ms'] / 1000:.3f} s", telling.entry(entry)) for entry in one.lifeline[:_ENTRIES_MAX])
    yield from _table(("at", "what"), rows)
    yield "</details>"
    yield ""


def _places(report: Report) -> Iterator[str]:
    yield f"Run `{_code(report.run_id)}`, seed {report.seed}, {_text(report.setting.profile or 'standard')} profile."
    if report.setting.command:
        yield f"Again: `{_code(report.setting.command)}`"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table; nothing at all when there is no row. A cell that is bold already is left as it is."""
    told = [[cell if cell.startswith("**") else _text(cell) for cell in row] for row in rows]
    if not told:
        return
    names = list(head)
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    yield from ("| " + " | ".join(row) + " |" for row in told)
    yield ""


def counted(verifier: Verifier) -> str:
    """The anomalies that a verifier counted, on one line; empty when there were none."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(verifier.counts.items()) if count)


def _text(text: object) -> str:
    """Text from a run as plain text of Markdown: on one line, and nothing of it is markup."""
    return _SPECIAL.sub(r"\\\1", _html(text))


def _html(text: object) -> str:
    """The same inside of an HTML element, where Markdown has no say."""
    return html.escape(" ".join(printable(text).split()), quote=False)


def _code(text: object) -> str:
    return " ".join(printable(text).replace("`", "'").split())
