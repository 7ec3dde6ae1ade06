"""What every format for people says of a run, in the same words: the reasons, the key figures, a lifeline's entries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chaosd.report.model import Fault, Recovery, Report, Verifier
from chaosd.report.words import CLASSES, explain, remedy

# In the order in which a reader under stress wants them: what failed, then what casts doubt.
_LOSSES = ("LOST", "MISSING-ERROR")
_OPEN = ("UNSEEN", "STUCK")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of the verdict. `code` is a class or a circumstance, `about` the fault, file or part in question, `by`
    the verifier, `count` how many anomalies of the class there are.
    """

    code: str
    about: str
    by: str
    meaning: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure with its name and a word of explanation. `mood` is good, bad, doubtful or empty."""

    name: str
    value: str
    note: str
    mood: str = ""


def reasons(report: Report) -> tuple[Reason, ...]:
    """The reasons, anomalies first; one that only repeats another is left out."""
    names = {verifier.name for verifier in report.verifiers}
    counts = totals(report)
    told: dict[tuple[str, str], Reason] = {}
    for text in report.reasons:
        head, _, rest = text.partition(":")
        by, text_left = (head, rest) if head in names and rest else ("", text)
        code, _, about = text_left.partition(":")
        reason = Reason(code, about.strip(), by, explain(text_left), counts.get(code))
        told.setdefault((code, reason.about or by), reason)
    return tuple(sorted(told.values(), key=lambda reason: (reason.code not in CLASSES, not reason.by)))


def remedies(codes: Iterable[str]) -> tuple[str, ...]:
    """What to do about these reasons, each thing once."""
    return tuple(filter(None, dict.fromkeys(map(remedy, codes))))


def why(verifier: Verifier) -> str:
    """A verifier's own reasons on one line; of a crash its error."""
    error = verifier.details.get("error")
    words = [reason.replace("_", " ") for reason in verifier.reasons]
    return ", ".join([*words, str(error)] if error else words)


def totals(report: Report) -> dict[str, int]:
    """How many anomalies of each class all verifiers counted (the same class by two: the larger number)."""
    counts: dict[str, int] = {}
    for verifier in report.verifiers:
        for name, number in verifier.counts.items():
            counts[name] = max(counts.get(name, 0), number)
    return counts


def figures(report: Report) -> tuple[Figure, ...]:
    """The key figures, in the order of the banner."""
    counts, account = totals(report), report.envelopes
    lost, undecided = (sum(counts.get(name, 0) for name in names) for names in (_LOSSES, _OPEN))
    open_note = (f"{undecided:,} undecided{_bounds(report)}" if undecided else "none undecided") + _deleted(report)
    duplicates = counts.get("DUP-ID", 0)
    policy = str(report.setting.expect.get("duplicates", "")).replace("_", " ")
    errors = f"{account.expected_dlq:,} to the dead letter topic"
    return (
        *_recovery_figure(report),
        Figure("accepted envelopes", f"{account.acked:,}", f"{account.expected_output:,} owe an output, {errors}"),
        Figure("lost", f"{lost:,}", open_note, _mood(lost, undecided)),
        Figure("duplicates", f"{duplicates:,}", policy or "counted"),
        *_faults_figure(report),
        *_certificate_figure(report),
    )


def _bounds(report: Report) -> str:
    """What is proved to be lost at least, and possible at most; empty where no verifier says so."""
    for verifier in report.verifiers:
        if bounds := verifier.details.get("loss"):
            return f"; lost are at least {bounds['proved']:,} and at most {bounds['possible']:,}"
    return ""


def _deleted(report: Report) -> str:
    """What a fault deleted with its topic, and what it therefore took back of the promises; empty where it did not."""
    told = [one for verifier in report.verifiers for one in verifier.details.get("deleted", ())]
    if not told:
        return ""
    seen, unread = (sum(int(one[name]) for one in told) for name in ("seen", "unread"))
    voided = totals(report).get("VOIDED", 0)
    return f"; deleted with their topic: {seen:,} read, {unread:,} unread; {voided:,} results are owed no more"


def _mood(bad: int, doubtful: int) -> str:
    return "bad" if bad else "doubtful" if doubtful else "good"


def _recovery_figure(report: Report) -> tuple[Figure, ...]:
    if not report.recovery:
        return ()
    worst = max(report.recovery, key=lambda one: (one.high_ms is None, one.high_ms or 0.0, one.low_ms))
    grades = {one.verdict for one in report.recovery}
    mood = "bad" if "FAIL" in grades else "doubtful" if "INCONCLUSIVE" in grades else "good"
    note = f"of {duration(worst.limit_ms)} allowed"
    return (Figure("recovery", interval(worst), note if len(report.recovery) == 1 else f"slowest; {note}", mood),)


def _faults_figure(report: Report) -> tuple[Figure, ...]:
    if not report.faults:
        return ()
    bit = sum(fault.bite == "proved" for fault in report.faults)
    healed = sum(fault.healed == "proved" for fault in report.faults)
    whole = bit == healed == len(report.faults)
    note = "all seen to be gone" if healed == len(report.faults) else f"{healed} seen to be gone"
    return (Figure("faults that bit", f"{bit} of {len(report.faults)}", note, "good" if whole else "doubtful"),)


def _certificate_figure(report: Report) -> tuple[Figure, ...]:
    one = report.certificate
    if not one.planted:
        return ()
    whole = one.noticed == one.planted
    note = "planted anomalies noticed" if whole else "planted anomalies were missed"
    return (Figure("certificate", f"{one.noticed:,} of {one.planted:,}", note, "good" if whole else "doubtful"),)


def duration(ms: float | None) -> str:
    """A time for people: `12 ms`, `850 ms`, `1.24 s`, `62.0 s`; ∞ for none."""
    if ms is None:
        return "∞"
    if ms < 1000:
        return f"{ms:.1f} ms" if 0 < ms < 10 else f"{ms:.0f} ms"
    seconds = ms / 1000
    return f"{seconds:.0f} s" if seconds == int(seconds) else f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def interval(one: Recovery) -> str:
    """A recovery time as what is known of it: `0.12–0.18 s`, or `> 12 s`."""
    if one.high_ms is None:
        return f"> {duration(one.low_ms)}"
    if one.high_ms >= 1000:
        return f"{one.low_ms / 1000:.2f}–{one.high_ms / 1000:.2f} s"
    low, high = f"{one.low_ms:.0f}", f"{one.high_ms:.0f}"
    return f"{high} ms" if low == high else f"{low}–{high} ms"


def parameters(fault: Fault) -> str:
    """What was asked for, as it was written: `latency 400ms, direction downstream, for 8 s`."""
    told = [f"{name.replace('_', ' ')} {value}" for name, value in fault.params.items() if value not in (None, "")]
    return ", ".join([*told, f"for {duration(fault.for_ns / 1e6)}"] if fault.for_ns else told)


def printable(text: object) -> str:
    """A text from a file or a process without what a terminal would obey."""
    return _CONTROL.sub("", str(text))


def evidence(values: Any) -> str:
    """Measured numbers as one line."""
    if isinstance(values, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in values.items())
    return _plain(values)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + evidence(value) + ")"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not known" if value is None else str(value)


def entry(one: dict[str, Any]) -> str:
    """An entry of a lifeline as a sentence, without its time."""
    what = str(one.get("what", ""))
    if "fault" in one:
        return f"{what}: {one['fault']} on {one.get('on', '')}"
    if "record" in one:
        deviation = f", deviates in {', '.join(one['deviation'])}" if one.get("deviation") else ""
        return f"{what} in {one.get('role', '')} {one['record']}{deviation}"
    if one.get("offset", -1) >= 0:
        named = f"{one['topic']}[{one.get('partition')}]" if "topic" in one else one.get("partition")
        return f"{what} at input {named}@{one['offset']}"
    return what
