"""Follows one run to its end, and to the judge's word even when the conductor dies on the way."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaosd.cli import live
from chaosd.conductor.client import RunHandle, RunRequest, start
from chaosd.kernel.errors import ChaosdError, Exit
from chaosd.report.telling import printable

if TYPE_CHECKING:
    from chaosd.cli.live import View

_HEAL_DEADLINE_S = 60.0
_STEP_S = 0.1
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `word` is the verdict, or what there was instead of one; `report` a path, empty without one."""

    code: Exit
    word: str
    report: str = ""


class Follower:
    """Shows one run while it goes on, and says at its end what became of it."""

    def __init__(self, title: str, limit_ms: float, *, plain: bool | None = None, as_json: bool = False) -> None:
        self._title = title
        self._limit_ms = limit_ms
        self._plain = plain
        self._as_json = as_json
        self._interrupts = 0
        self._asked = asyncio.Event()
        self._deaf = False
        self._run: dict[str, Any] = {}
        self._verdict: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None

    async def follow(self, request: RunRequest) -> Ended:
        """Start the conductor, follow it to its end, print the summary. Raises StackError when it cannot be started."""
        log = Path(request.runs_dir) / "conductor.log"
        written = log.stat().st_size if log.is_file() else 0
        handle = await start(request, log)
        view = _Mute() if self._as_json else live.make(self._title, plain=self._plain, limit_ms=self._limit_ms)
        aborting = asyncio.create_task(self._abort_when_asked(handle), name="abort")
        with self._signals(view):
            try:
                async for event in handle.events():
                    self._take(event, view)
            finally:
                aborting.cancel()
                view.close()
            words = _tail(log, written)
            if self._verdict is None and self._error is None:
                await self._after_a_death(handle, request, words)
            elif self._error is None and words and handle.code != (self._verdict or {}).get("exit"):
                self._error = {
                    "message": f"the conductor {_how(handle.code)} after the verdict",
                    "detail": words,
                    "remedy": "chaosd heal",
                    "exit": _exit(handle.code),
                }
        self._say()
        return self._ended(handle.code)

    @contextmanager
    def _signals(self, view: View) -> Iterator[None]:
        """Ctrl-C asks for an orderly end instead of ending this process, until the run is told."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self._interrupt, view)
        try:
            yield
        finally:
            for sig in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(sig)

    def _interrupt(self, view: View) -> None:
        self._interrupts += 1
        text = "interrupted: healing what is broken, then ending the run"
        if self._interrupts > 1:
            text = "still healing: chaosd leaves nothing broken behind"
        view.on({"event": "note", "text": text})
        self._asked.set()

    async def _abort_when_asked(self, handle: RunHandle) -> None:
        await self._asked.wait()
        await handle.abort("standard output was closed" if self._deaf else "interrupted by Ctrl-C")

    def _take(self, event: dict[str, Any], view: View) -> None:
        kind = event.get("event")
        if kind == "run":
            self._run = event
        elif kind == "verdict":
            self._verdict = event
        elif kind == "error":
            self._error = event
        if self._as_json:
            self._print(json.dumps(event))
        elif kind is not None:
            view.on(event)

    def _print(self, line: str) -> None:
        """A reader that goes away ends the run in order, like Ctrl-C does."""
        if self._deaf:
            return
        try:
            print(line, flush=True)
        except BrokenPipeError:
            self._deaf = True
            self._asked.set()

    async def _after_a_death(self, handle: RunHandle, request: RunRequest, tail: str) -> None:
        """The conductor is gone without a word: wait for the watchdog's healing, then judge what is in the journal."""
        how = _how(handle.code)
        if not self._run:
            self._error = {"message": f"the conductor {how} before the run began", "detail": tail, "exit": Exit.ABORTED}
            return
        print(f"chaosd: the conductor {how}; the watchdog heals what it left", file=sys.stderr, flush=True)
        healed = await self._healed(kept=request.keep or request.testbed is not None)
        message, remedy, code = f"the conductor {how}; all is healed", "", Exit.ABORTED
        if not healed:
            message, remedy = "the conductor died and the watchdog has not healed everything", "chaosd heal"
            code = Exit.UNHEALED
        try:
            from chaosd.report.judge import judge_run

            self._verdict = (await asyncio.to_thread(judge_run, Path(self._run["run_dir"]))).event()
            if self._as_json:
                self._print(json.dumps(self._verdict))
        except ChaosdError as error:
            message += f"; its journal cannot be judged: {error.message}"
        self._error = {"message": message, "detail": tail, "remedy": remedy, "exit": code}

    async def _healed(self, *, kept: bool) -> bool:
        """Wait until no lease of the run is open and its own testbed is gone; False when that takes too long."""
        from chaosd.healing.leases import Leases
        from chaosd.process.places import testbeds_dir

        run_id, leases = str(self._run["run_id"]), Leases()
        try:
            async with asyncio.timeout(_HEAL_DEADLINE_S):
                while leases.of_run(run_id) or (not kept and (testbeds_dir() / run_id).exists()):
                    await asyncio.sleep(_STEP_S)
        except TimeoutError:
            return False
        return True

    def _say(self) -> None:
        """The summary on standard output, an error on standard error."""
        if self._verdict is not None and not self._as_json:
            from chaosd.report.terminal import show

            show(Path(self._verdict["run_dir"]))
        if self._error is not None:
            lines = [f"chaosd: {self._error['message']}"]
            lines += [f"  | {line}" for line in str(self._error.get("detail", "")).splitlines()]
            if self._error.get("remedy"):
                lines.append(f"  remedy: {self._error['remedy']}")
            print("\n".join(printable(line) for line in lines), file=sys.stderr, flush=True)

    def _ended(self, code: int | None) -> Ended:
        report = str((self._verdict or {}).get("report", ""))
        word = str((self._verdict or {}).get("verdict", ""))
        if self._error is not None:
            exit_code = _exit(self._error.get("exit"))
            return Ended(exit_code, word or exit_code.name, report)
        exit_code = _exit(code)
        aborted = exit_code is Exit.ABORTED
        return Ended(exit_code, f"{word}, aborted" if aborted and word else word or exit_code.name, report)


class _Mute:
    """The view of a run whose events are printed as they are."""

    def on(self, event: dict[str, Any]) -> None:
        """Say notes of ours, which are no events of the conductor, where they harm no reader of JSON."""
        print(f"chaosd: {event.get('text', '')}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is held open."""


def _exit(code: Any) -> Exit:
    """The conductor's exit code; one that is not in the table (a signal) is an aborted run."""
    return Exit(code) if code in set(Exit) else Exit.ABORTED


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _tail(log: Path, written: int) -> str:
    """The last lines that this conductor wrote."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(written)
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
