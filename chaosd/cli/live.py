"""What a person, or a CI log, sees of a run while it goes on. Both views follow the same events of the conductor."""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import Any, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chaosd.report.telling import duration, printable

_BLOCKS = "▁▂▃▄▅▆▇█"
_HISTORY = 60  # ticks of the age curve that are kept: 15 s
_PLAIN_TICK_S = 5.0
_PHASES = ("stack", "target", "warmup", "burst", "baseline", "faults", "hold", "drain", "judge")
_FAULT_STYLE = {"injected": "bold yellow", "healed": "green", "failed": "bold red", "unhealed": "bold red"}
_NOTHING = {"sent": 0, "outputs": 0, "dlq": 0, "age_ms": 0.0, "rate_in": 0.0, "rate_out": 0.0, "elapsed_s": 0.0}


class View(Protocol):
    """Follows one run."""

    def on(self, event: dict[str, Any]) -> None:
        """Take in one event of the conductor."""
        ...

    def close(self) -> None:
        """Leave the screen as it should stay."""
        ...


def make(title: str, *, plain: bool | None = None, limit_ms: float = 5000.0, out: TextIO | None = None) -> View:
    """A live view on an interactive terminal, plain lines elsewhere and in CI, or as `plain` says."""
    out = out or sys.stderr
    if plain is None:
        plain = bool(os.environ.get("CI")) or os.environ.get("TERM") == "dumb" or not out.isatty()
    return PlainView(title, out) if plain else LiveView(title, limit_ms, Console(file=out))


def _fault(event: dict[str, Any]) -> str:
    return f"{event.get('fault')} on {event.get('on')} {event.get('state')} {event.get('text', '')}".rstrip()


class PlainView:
    """One line per thing that happened, and a tick at most every five seconds."""

    def __init__(self, title: str, out: TextIO) -> None:
        self._out = out
        self._last_tick_s = -_PLAIN_TICK_S
        self._line(f"== {title}")

    def on(self, event: dict[str, Any]) -> None:
        """Print the event if it is worth a line."""
        match event.get("event"):
            case "run":
                self._line(f"run {event.get('run_id')}")
            case "phase":
                self._line(f"-- {event.get('name')}: {event.get('text', '')}")
            case "progress" if float(event.get("share") or 0.0) >= 1:
                self._line(f"   {printable(event.get('step'))}: ready")
            case "fault":
                self._line(f"!! {_fault(event)}")
            case "note":
                self._line(f"   note: {event.get('text', '')}")
            case "tick":
                self._tick({**_NOTHING, **event})

    def close(self) -> None:
        """Nothing is held open."""

    def _tick(self, tick: dict[str, Any]) -> None:
        if tick["elapsed_s"] - self._last_tick_s < _PLAIN_TICK_S:
            return
        self._last_tick_s = tick["elapsed_s"]
        self._line(
            f"   {tick['elapsed_s']:6.1f} s  sent {tick['sent']}  out {tick['outputs']}  dlq {tick['dlq']}"
            f"  oldest due {tick['age_ms']:.0f} ms  in {tick['rate_in']:.0f}/s  out {tick['rate_out']:.0f}/s"
        )

    def _line(self, text: str) -> None:
        print(printable(text), file=self._out, flush=True)


class LiveView:
    """The state of the run on one screenful, redrawn a few times a second; notes and faults scroll above it."""

    def __init__(self, title: str, limit_ms: float, console: Console) -> None:
        self._title = printable(title)
        self._limit_ms = limit_ms
        self._phase, self._text, self._run = "stack", "", ""
        self._phase_s = 0.0
        self._tick: dict[str, Any] = {}
        self._step: tuple[str, float] | None = None
        self._ages: deque[float] = deque(maxlen=_HISTORY)
        self._console = console
        self._live = Live(self._render(), console=console, refresh_per_second=8, transient=True)
        self._live.start()

    def on(self, event: dict[str, Any]) -> None:
        """Take in one event and redraw."""
        match event.get("event"):
            case "run":
                self._run = printable(event.get("run_id"))
            case "phase":
                self._enter(event)
            case "progress":
                self._step = (printable(event.get("step")), float(event.get("share") or 0.0))
            case "fault":
                style = _FAULT_STYLE.get(str(event.get("state")), "")
                self._console.print(Text(f"  ● {printable(_fault(event))}", style=style))
            case "note":
                self._console.print(Text("  " + printable(event.get("text", "")), style="dim"))
            case "tick":
                self._tick = {**_NOTHING, **event}
                self._ages.append(float(self._tick["age_ms"]))
                self._phase_s = max(self._phase_s, float(event.get("left_s") or 0.0))
        self._live.update(self._render())

    def close(self) -> None:
        """Take the live part off the screen; what scrolled stays."""
        self._live.stop()

    def _enter(self, event: dict[str, Any]) -> None:
        self._phase, self._text = printable(event.get("name")), printable(event.get("text", ""))
        self._step, self._phase_s = None, 0.0
        self._tick = {**self._tick, "left_s": None} if self._tick else {}

    def _render(self) -> Panel:
        body: list[RenderableType] = [self._phase_line(), Text(self._text, style="dim")]
        if self._step is not None:
            name, share = self._step
            bar = Table.grid(padding=(0, 2))
            bar.add_row(Text(name, style="dim"), ProgressBar(total=1.0, completed=share, width=30), f"{share:.0%}")
            body.append(bar)
        if self._tick:
            body += [Text(), self._gauges(), self._faults()]
        title, run = Text(self._title, style="bold"), Text(self._run, style="dim")
        return Panel(Group(*body), title=title, title_align="left", subtitle=run, border_style="dim", padding=(0, 1))

    def _phase_line(self) -> Text:
        done = _PHASES.index(self._phase) if self._phase in _PHASES else -1
        line = Text()
        for number, name in enumerate(_PHASES):
            style = "bold reverse" if number == done else "green" if number < done else "dim"
            line.append(f" {name} ", style=style)
        return line

    def _gauges(self) -> Table:
        tick = self._tick
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        age = float(tick["age_ms"])
        limit = Text(f"of {duration(self._limit_ms)}", style="dim")
        table.add_row("oldest due", Text(f"{age:,.0f} ms", style=self._age_style(age)), limit, self._sparkline())
        table.add_row("rate", f"in {tick['rate_in']:,.0f}/s", f"out {tick['rate_out']:,.0f}/s")
        table.add_row("envelopes", f"sent {tick['sent']:,}", f"output {tick['outputs']:,}", f"errors {tick['dlq']:,}")
        left_s = tick.get("left_s")
        if left_s is not None and self._phase_s:
            bar = ProgressBar(total=self._phase_s, completed=max(0.0, self._phase_s - float(left_s)), width=_HISTORY)
            table.add_row("phase", f"{left_s:.0f} s left", "", bar)
        return table

    def _faults(self) -> Text:
        line = Text()
        for fault in self._tick.get("faults", ()):
            text = f" {fault.get('fault')} on {fault.get('on')} {fault.get('left_s') or 0.0:.1f} s "
            line.append(printable(text), style="black on yellow")
            line.append(" ")
        return line

    def _age_style(self, age_ms: float) -> str:
        if age_ms > self._limit_ms:
            return "bold red"
        return "yellow" if age_ms > self._limit_ms / 10 else "green"

    def _sparkline(self) -> Text:
        """The age of the last seconds, each tick coloured by how near to the limit it was."""
        top = max([*self._ages, self._limit_ms / 10])
        line = Text()
        for age in self._ages:
            block = _BLOCKS[min(len(_BLOCKS) - 1, int(age / top * len(_BLOCKS)))]
            line.append(block, style=self._age_style(age))
        return line
