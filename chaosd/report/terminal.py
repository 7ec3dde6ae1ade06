"""The summary that a person reads when a run has ended: verdict and reasons first, coloured on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from chaosd.report import telling
from chaosd.report.model import Picture, Report, Verifier, decode
from chaosd.report.telling import printable
from chaosd.report.words import explain

_STYLES = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}
_MOODS = {"good": "green", "bad": "bold red", "doubtful": "yellow"}
_REASONS_MAX = 12
_ENTRIES_MAX = 12
_WITNESSES_MAX = 2


def render(report: Report, picture: Picture) -> str:
    """The summary as plain text."""
    out = io.StringIO()
    _print(report, Console(file=out, color_system=None, force_terminal=False, width=200))
    return out.getvalue()


def show(run_dir: Path, out: TextIO | None = None) -> None:
    """Print the summary of a judged run (to standard output): colours only on a terminal and without NO_COLOR.

    Raises JournalError when the run has no verdict that can be read.
    """
    path = run_dir / "verdict.json"
    report = decode(path.read_bytes() if path.is_file() else b"", str(path))
    _print(report, Console(file=out, highlight=False), run_dir)


def verifier(report: Report, one: Verifier, run_dir: Path | None) -> str:
    """What one verifier said, as plain text: anomalies, the stories of its first witnesses, how to repeat the run."""
    out = io.StringIO()
    console = Console(file=out, color_system=None, force_terminal=False, width=200)
    for line in _about(report, one, run_dir):
        console.print(line, soft_wrap=True, highlight=False)
    return out.getvalue().strip("\n")


def _print(report: Report, console: Console, run_dir: Path | None = None) -> None:
    for line in _lines(report, run_dir):
        console.print(line, soft_wrap=True, highlight=False)


def _lines(report: Report, run_dir: Path | None) -> Iterator[Text]:
    yield Text("")
    yield _line(
        (report.verdict, _STYLES.get(report.verdict, "bold")), ("  " + (report.title or report.experiment), "bold")
    )
    if report.setting.aborted is not None:
        yield _line(f"  ended early: {report.setting.aborted}")
    if report.known is not None:
        word = "exactly the known failure" if report.known.matched else "not the known failure"
        yield _line(f"  {word}: {report.known.verdict} {', '.join(report.known.classes)} {report.known.why}".rstrip())
    yield Text("")
    reasons = telling.reasons(report)
    for reason in reasons[:_REASONS_MAX]:
        yield _reason(report, reason)
    if len(reasons) > _REASONS_MAX:
        yield _line(f"  … and {len(reasons) - _REASONS_MAX} more reasons")
    yield from _remedies(report.reasons)
    if reasons:
        yield Text("")
    for figure in telling.figures(report):
        yield _line(f"  {figure.name:<20} ", (f"{figure.value:<16}", _MOODS.get(figure.mood, "")), (figure.note, "dim"))
    yield Text("")
    for verifier in report.verifiers:
        counts = "  ".join(f"{name} {count:,}" for name, count in sorted(verifier.counts.items()) if count)
        counts = str(verifier.details.get("error") or counts)
        style = _STYLES.get(verifier.verdict, "")
        yield _line(f"  {verifier.name:<20} ", (f"{verifier.verdict:<16}", style), (counts, "dim"))
    for verifier in report.verifiers:
        if verifier.verdict == "FAIL" and verifier.witnesses:
            yield from _witness(verifier)
            break
    yield Text("")
    yield from _places(report, run_dir)


def _about(report: Report, one: Verifier, run_dir: Path | None) -> Iterator[Text]:
    yield _line(f"{one.verdict}  {one.name}: {telling.why(one)}  –  {report.title or report.experiment}")
    for name, count in sorted(one.counts.items()):
        if count:
            yield _line(f"  {count:,} × {name}  {explain(name)}")
    yield from _remedies(one.reasons)
    if one.name == "recovery":
        for episode in report.recovery:
            limit = telling.duration(episode.limit_ms)
            yield _line(f"  {episode.verdict}  {episode.fault}: {telling.interval(episode)} of {limit} allowed")
    for number in range(min(len(one.witnesses), _WITNESSES_MAX)):
        yield from _witness(one, number)
    if len(one.witnesses) > _WITNESSES_MAX:
        yield _line(f"  … and {len(one.witnesses) - _WITNESSES_MAX} more witnesses in the report")
    yield Text("")
    yield from _places(report, run_dir)


def _remedies(codes: Iterable[str]) -> Iterator[Text]:
    for remedy in telling.remedies(codes):
        yield _line(f"  remedy: {remedy}")


def _reason(report: Report, reason: telling.Reason) -> Text:
    count = f"{reason.count:,} × " if reason.count else ""
    about = f" – {reason.about}" if reason.about else ""
    by = f" ({reason.by})" if reason.by else ""
    meaning = reason.meaning or reason.code.replace("_", " ")
    return _line("  ", (f"{count}{reason.code}", _STYLES.get(report.verdict, "")), f"  {meaning}{about}{by}")


def _witness(verifier: Verifier, number: int = 0) -> Iterator[Text]:
    """The story of a witness, by default of the first: where it ended is where to look."""
    one = verifier.witnesses[number]
    who = f"stream {one.stream}, envelope {one.seq}" if one.stream >= 0 else "a record without identity"
    yield Text("")
    yield _line((f"  {one.anomaly}", "bold"), f"  {' · '.join(filter(None, (who, one.detail, one.hop)))}")
    for entry in one.lifeline[:_ENTRIES_MAX]:
        style = "yellow" if "fault" in entry else ""
        yield _line((f"  {entry['at_ms'] / 1000:>12.3f} s  ", "dim"), (telling.entry(entry), style))


def _places(report: Report, run_dir: Path | None) -> Iterator[Text]:
    if run_dir is not None:
        yield _line(("  report  ", "dim"), str(run_dir / "report.html"))
    if report.setting.command:
        yield _line(("  again   ", "dim"), report.setting.command)
    yield _line(("  verify  ", "dim"), f"chaosd verify {run_dir or report.run_id}")


def _line(*pieces: str | tuple[str, str]) -> Text:
    return Text.assemble(*(p if isinstance(p, str) else (printable(p[0]), p[1]) for p in _clean(pieces)))


def _clean(pieces: tuple[str | tuple[str, str], ...]) -> Iterator[str | tuple[str, str]]:
    for piece in pieces:
        yield printable(piece) if isinstance(piece, str) else piece
