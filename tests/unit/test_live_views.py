"""Both views of a run, on a scripted stream of the conductor's events."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from chaosd.cli import live
from chaosd.cli.live import LiveView, PlainView

SCRIPT: list[dict[str, Any]] = [
    {"event": "run", "run_id": "r-1", "run_dir": "/x", "experiment": "e"},
    {"event": "phase", "name": "stack", "text": "starting Redis"},
    {"event": "progress", "step": "kafka", "share": 0.0},
    {"event": "progress", "step": "kafka", "share": 0.5},
    {"event": "progress", "step": "kafka", "share": 1.0},
    {"event": "phase", "name": "baseline", "text": "measuring"},
    {"event": "note", "text": "lengthened to 10s"},
    {"event": "fault", "state": "injected", "id": "f", "fault": "latency", "on": "redis", "text": ""},
    {"event": "fault", "state": "healed", "id": "f", "fault": "latency", "on": "redis", "text": ""},
]


def tick(elapsed_s: float, **changes: Any) -> dict[str, Any]:
    known = {
        "event": "tick",
        "phase": "faults",
        "elapsed_s": elapsed_s,
        "left_s": 7.0,
        "sent": 5123,
        "acked": 5120,
        "outputs": 5000,
        "dlq": 100,
        "age_ms": 420.0,
        "rate_in": 500.0,
        "rate_out": 480.0,
        "faults": [{"id": "f", "fault": "latency", "on": "redis", "left_s": 3.2}],
    }
    return {**known, **changes}


def plain(*events: dict[str, Any]) -> list[str]:
    out = io.StringIO()
    view = PlainView("Redis late", out)
    for event in events:
        view.on(event)
    view.close()
    return out.getvalue().splitlines()


def drawn(*events: dict[str, Any], limit_ms: float = 5000.0) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=110, record=True, color_system=None)
    view = LiveView("Redis late", limit_ms, console)
    try:
        for event in events:
            view.on(event)
        console.print(view._render())
    finally:
        view.close()
    return console.export_text()


def test_plain_lines_tell_run_phases_faults_and_notes_once() -> None:
    lines = plain(*SCRIPT)
    assert lines == [
        "== Redis late",
        "run r-1",
        "-- stack: starting Redis",
        "   kafka: ready",
        "-- baseline: measuring",
        "   note: lengthened to 10s",
        "!! latency on redis injected",
        "!! latency on redis healed",
    ]


def test_plain_ticks_come_at_most_every_five_seconds() -> None:
    lines = plain(*(tick(n * 0.25) for n in range(49)))
    assert len([line for line in lines if "sent" in line]) == 3
    assert "oldest due 420 ms" in lines[1]


def test_live_view_shows_the_state_of_the_run() -> None:
    text = drawn(*SCRIPT, tick(1.0), tick(1.25, left_s=6.75))
    for piece in (
        "Redis late",
        "r-1",
        "420 ms",
        "of 5 s",
        "in 500/s",
        "sent 5,123",
        "latency on redis 3.2 s",
        "7 s left",
    ):
        assert piece in text, piece


def test_live_view_lets_faults_and_notes_scroll_above() -> None:
    text = drawn(*SCRIPT)
    assert "● latency on redis injected" in text
    assert "lengthened to 10s" in text


def test_live_view_shows_progress_of_a_step() -> None:
    assert "50%" in drawn({"event": "progress", "step": "kafka", "share": 0.5})


@pytest.mark.parametrize(("age_ms", "style"), [(20.0, "green"), (900.0, "yellow"), (6000.0, "bold red")])
def test_age_is_coloured_by_its_distance_to_the_limit(age_ms: float, style: str) -> None:
    view = LiveView("x", 5000.0, Console(file=io.StringIO()))
    view.close()
    assert view._age_style(age_ms) == style


@pytest.mark.parametrize("render", [lambda *e: "\n".join(plain(*e)), drawn], ids=["plain", "live"])
def test_text_from_files_cannot_drive_the_terminal(render: Any) -> None:
    bad = "evil\x1b]0;title\x07\x1b[2Jtext"
    events = (
        {"event": "note", "text": bad},
        {"event": "phase", "name": "stack", "text": bad},
        {"event": "fault", "state": "failed", "id": "f", "fault": bad, "on": bad, "text": bad},
        tick(1.0, faults=[{"fault": bad, "on": "redis", "left_s": 1.0}]),
    )
    text = render(*events)
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert "\x1b[2J" not in text
    assert "evil" in text


@pytest.mark.parametrize("render", [plain, drawn], ids=["plain", "live"])
def test_events_of_a_later_conductor_do_no_harm(render: Any) -> None:
    render({"event": "weather"}, {"event": "tick"}, {"event": "fault"}, {"event": "phase", "name": "new"}, {})


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "screen", "plain_asked", "kind"),
    [
        ({}, True, None, LiveView),
        ({"CI": "true"}, True, None, PlainView),
        ({}, False, None, PlainView),
        ({"TERM": "dumb"}, True, None, PlainView),
        ({"CI": "true"}, True, False, LiveView),
        ({}, True, True, PlainView),
    ],
)
def test_view_fits_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], screen: bool, plain_asked: bool | None, kind: type
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    view = live.make("x", plain=plain_asked, out=Screen() if screen else io.StringIO())
    try:
        assert isinstance(view, kind)
    finally:
        view.close()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Screen()
    view = live.make("x", out=out)
    view.on({"event": "fault", "state": "failed", "id": "f", "fault": "latency", "on": "redis", "text": ""})
    view.close()
    assert "latency on redis" in out.getvalue()
    assert "\x1b[31" not in out.getvalue()
    assert "\x1b[1;31" not in out.getvalue()
