"""The kill switch: while the file is there, no run begins, nothing more is broken, and runs under way heal and end.

It is a file so that it survives restarts, and so that `touch` and `rm` do where chaosd itself cannot be called.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from chaosd.kernel.errors import RunAborted, UsageError
from chaosd.process.places import state_dir

LOOK_S = 0.1


def halt_file() -> Path:
    """Where the switch is."""
    return state_dir() / "halt"


def halted() -> str | None:
    """Why everything is halted (perhaps empty); None when it is not."""
    try:
        return halt_file().read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # There is a switch. That nobody can read why is no permission to go on.
        return f"{halt_file()} cannot be read ({error.strerror})"


def halt(reason: str) -> None:
    """Halt: runs under way heal and end, no new one begins. Raises UsageError when the switch cannot be written."""
    place = halt_file()
    scratch = place.with_suffix(f".{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(reason, scratch, place)
        except OSError:
            scratch.unlink(missing_ok=True)
            # Its mere being there halts; a full disk may keep the reason out, and must not keep the switch open.
            place.touch()
    except OSError as error:
        raise UsageError(
            f"chaosd is not halted: {place} cannot be written: {error.strerror}",
            remedy="name the runs' own state folder in CHAOSD_STATE",
        ) from error


def _write(reason: str, scratch: Path, place: Path) -> None:
    """Whoever sees the switch sees the reason, so it is there first; that it lasts is not waited for before."""
    with scratch.open("w", encoding="utf-8") as out:
        out.write(reason.strip() + "\n")
        out.flush()
        scratch.replace(place)
        os.fsync(out.fileno())


def resume() -> bool:
    """Allow runs again. False when nothing was halted. Raises UsageError when the switch cannot be removed."""
    try:
        halt_file().unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UsageError(
            f"chaosd stays halted: {halt_file()} cannot be removed: {error.strerror}", remedy="remove it by hand"
        ) from error
    return True


def said(reason: str) -> str:
    """What people are told while the switch is on."""
    return f"chaosd is halted: {reason}" if reason else "chaosd is halted"


def refuse_when_halted() -> None:
    """Raise RunAborted while the switch is on."""
    reason = halted()
    if reason is not None:
        raise RunAborted(said(reason), remedy="`chaosd resume`, when runs may begin again")


async def obey(stop: Callable[[str], None]) -> None:
    """Call `stop` with the reason as soon as the switch is on; looks until then, or until cancelled."""
    while (reason := halted()) is None:
        await asyncio.sleep(LOOK_S)
    stop(said(reason))
