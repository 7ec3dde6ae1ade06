"""The report as JUnit XML: the run and each verifier is a test case, INCONCLUSIVE is an error, a known failure skipped.

The form is the one that Jenkins, GitLab and GitHub's reporters read: github.com/testmoapp/junitxml.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from chaosd.report import telling
from chaosd.report.markdown import counted
from chaosd.report.model import Picture, Report, Verifier
from chaosd.report.telling import printable

# What XML 1.0 cannot carry, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENTRIES_MAX = 40
RUN = "run"


def render(report: Report, picture: Picture) -> str:
    """One `testsuite`: the case `run` holds what no verifier says, the others are the verifiers."""
    cases = [_run_case(report), *(_case(report, verifier) for verifier in report.verifiers)]
    failed, unsure = (sum(f"<{word} " in case for case in cases) for word in ("failure", "error"))
    skipped = sum("<skipped " in case for case in cases)
    name = _attribute(report.experiment)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuites name="chaosd"><testsuite name="{name}" tests="{len(cases)}" failures="{failed}" '
        f'errors="{unsure}" skipped="{skipped}" time="{report.setting.duration_s or 0:.3f}"'
        + (f' timestamp="{_attribute(report.setting.started)}">' if report.setting.started else ">"),
        "<properties>",
        *(f'<property name="{key}" value="{_attribute(value)}"/>' for key, value in properties(report).items()),
        "</properties>",
        *cases,
        "</testsuite></testsuites>",
    ]
    return "\n".join(lines) + "\n"


def properties(report: Report) -> dict[str, str]:
    """What identifies the run and its verdict, and repeats it."""
    return {
        "chaosd_verdict": report.verdict,
        "chaosd_run_id": report.run_id,
        "chaosd_seed": str(report.seed),
        "chaosd_profile": report.setting.profile,
        "chaosd_journal": report.journal.hash,
        "chaosd_command": report.setting.command,
    }


def of_the_run(report: Report) -> list[telling.Reason]:
    """The reasons that are those of the run and of no verifier."""
    return [reason for reason in telling.reasons(report) if not reason.by]


def _run_case(report: Report) -> str:
    reasons = of_the_run(report)
    words = ", ".join(reason.code + (f" ({reason.about})" if reason.about else "") for reason in reasons)
    text = "\n".join(f"{reason.code} {reason.about}: {reason.meaning}" for reason in reasons)
    inside = _outcome("error", "INCONCLUSIVE", words, text) if reasons else ""
    return _element(report, RUN, inside, report.setting.duration_s or 0.0)


def _case(report: Report, verifier: Verifier) -> str:
    text = "\n".join(_story(verifier))
    message = counted(verifier) or telling.why(verifier)
    known = report.known
    if verifier.verdict == "PASS":
        inside = ""
    elif known is not None and known.matched:
        why = f"known: {known.why or ', '.join(known.classes)}"
        inside = f'<skipped message="{_attribute(why)}"/>'
    else:
        inside = _outcome("failure" if verifier.verdict == "FAIL" else "error", verifier.verdict, message, text)
    return _element(report, verifier.name, inside, 0.0)


def _story(verifier: Verifier) -> Iterator[str]:
    yield telling.why(verifier)
    for one in verifier.witnesses[:1]:
        yield " · ".join(filter(None, (one.anomaly, f"stream {one.stream}, envelope {one.seq}", one.detail, one.hop)))
        for entry in one.lifeline[:_ENTRIES_MAX]:
            yield f"{entry['at_ms'] / 1000:12.3f} s  {telling.entry(entry)}"


def _element(report: Report, name: str, inside: str, took_s: float) -> str:
    head = f'<testcase classname="chaosd.{_attribute(report.experiment)}" name="{_attribute(name)}" time="{took_s:.3f}"'
    return f"{head}>{inside}</testcase>" if inside else f"{head}/>"


def _outcome(tag: str, kind: str, message: str, text: str) -> str:
    return f'<{tag} type="{_attribute(kind)}" message="{_attribute(message)}">{_content(text)}</{tag}>'


def _attribute(text: object) -> str:
    return _content(" ".join(str(text).split()))


def _content(text: str) -> str:
    return html.escape(_FORBIDDEN.sub("", "\n".join(printable(line) for line in text.splitlines())))
