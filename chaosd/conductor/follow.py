"""Follows a conductor to the end of its run, for surfaces without a screen, and to a verdict even when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaosd.conductor.client import RunHandle
from chaosd.healing.leases import Leases
from chaosd.kernel.errors import Exit
from chaosd.process.control import Child

_HEAL_DEADLINE_S = 60.0
_JUDGE_DEADLINE_S = 600.0
_LOOK_S = 0.1

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `verdict` is empty where there is none; `error` and `remedy` are for people.

    `run_id` is empty and `run_dir` None when the conductor did not get that far.
    """

    run_id: str
    run_dir: Path | None
    verdict: str
    reasons: tuple[str, ...]
    exit: Exit
    error: str = ""
    remedy: str = ""


async def follow(handle: RunHandle, on_event: OnEvent) -> Ending:
    """Hand every event to `on_event` until the conductor's end; gives how the run ended.

    A conductor that died without a word: waits until its watchdog has healed, then has the journal judged.
    """
    last: dict[str, dict[str, Any]] = {}
    async for event in handle.events():
        last[event["event"]] = event
        on_event(event)
    code = handle.code
    if "verdict" not in last and "error" not in last:
        await _after_death(last, code, on_event)
    return _ending(last, Exit(code) if code in set(Exit) else Exit.ABORTED)


def _ending(last: dict[str, dict[str, Any]], code: Exit) -> Ending:
    run, verdict, error = (last.get(kind, {}) for kind in ("run", "verdict", "error"))
    details = [str(error[key]) for key in ("message", "detail") if error.get(key)]
    return Ending(
        run_id=str(run.get("run_id", "")),
        run_dir=Path(run["run_dir"]) if run else None,
        verdict=str(verdict.get("verdict", "")),
        reasons=tuple(map(str, verdict.get("reasons", ()))),
        exit=Exit(error["exit"]) if error else code,
        error="\n".join(details),
        remedy=str(error.get("remedy", "")),
    )


async def _after_death(last: dict[str, dict[str, Any]], code: int | None, on_event: OnEvent) -> None:
    run = last.get("run")
    if run is None:
        last["error"] = _error(f"the conductor ended with code {code} before its run began", Exit.ABORTED)
        return
    on_event({"event": "note", "text": f"the conductor died with code {code}; its watchdog heals"})
    try:
        async with asyncio.timeout(_HEAL_DEADLINE_S):
            while Leases().of_run(run["run_id"]):
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        last["error"] = _error("the watchdog has not healed everything", Exit.UNHEALED, "`chaosd heal`")
    run_dir = Path(run["run_dir"])
    log = run_dir / "logs" / "judge.log"
    child = await Child.start("chaosd.report.judge", [str(run_dir), "--json"], stderr_log=log)
    try:
        async with asyncio.timeout(_JUDGE_DEADLINE_S):
            async for event in child.events():
                last.setdefault(event["event"], event)
                on_event(event)
    finally:
        await child.close()


def _error(message: str, code: Exit, remedy: str = "") -> dict[str, Any]:
    return {"event": "error", "message": message, "detail": "", "remedy": remedy, "exit": int(code)}
