"""The kill switch: while the file is there, no run begins, and runs under way end."""

from __future__ import annotations

from pathlib import Path

from chaosd.kernel.errors import RunAborted
from chaosd.process.places import state_dir


def halt_file() -> Path:
    """Where the switch is."""
    return state_dir() / "halt"


def halted() -> str | None:
    """Why everything is halted (perhaps empty); None when it is not."""
    try:
        return halt_file().read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def halt(reason: str) -> None:
    """Halt: runs under way heal and end, no new one begins."""
    halt_file().parent.mkdir(parents=True, exist_ok=True)
    halt_file().write_text(reason + "\n", encoding="utf-8")


def resume() -> bool:
    """Allow runs again. False when nothing was halted."""
    try:
        halt_file().unlink()
    except FileNotFoundError:
        return False
    return True


def refuse_when_halted() -> None:
    """Raise RunAborted while the switch is on."""
    reason = halted()
    if reason is not None:
        why = f": {reason}" if reason else ""
        raise RunAborted(f"chaosd is halted{why}", remedy=f"remove {halt_file()} when runs may begin again")
