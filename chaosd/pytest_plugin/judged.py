"""What the workers of one machine share: the turn to judge, and the results of runs that are one for all of them.

Two judged runs at once take each other's processor, and both verdicts would be about that. So a run waits for its turn,
whoever has it: another worker of xdist, another pytest, another user.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaosd.conductor.follow import Ending
from chaosd.kernel.errors import Exit, UsageError

LOCK_NAME = "chaosd-judged.lock"
_LOOK_S = 0.1


def machine_lock() -> Path:
    """The file whose lock is the turn: in the folder for temporary files, which all users of a machine share."""
    return Path(tempfile.gettempdir()) / LOCK_NAME


@asynccontextmanager
async def locked(path: Path, waiting: Callable[[], None] | None = None) -> AsyncIterator[None]:
    """Hold the lock of a file, which ends with this process at the latest; `waiting` is called when it is not free.

    Raises UsageError when the file cannot be opened.
    """
    descriptor = _open(path)
    try:
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told and waiting is not None:
                    waiting()
                told = True
                await asyncio.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """For reading, which is enough for a lock: what another user made there must not be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Without O_CREAT first: in a folder that is everybody's the kernel refuses to "create" others' files.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"{path} cannot be opened: {error.strerror}", remedy="see to the folder of TMPDIR") from error


class SharedRuns:
    """How runs ended, in a folder that the workers of one session share: each experiment is run once for all of them.

    xdist may give the items of one experiment to several workers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[Ending | None]:
        """Alone with `key`: how its run ended, or None when this process has to run it."""
        async with locked(self._path(key).with_suffix(".lock")):
            yield self._known(key)

    def keep(self, key: str, ending: Ending) -> None:
        """Let the others know."""
        path = self._path(key)
        half = path.with_suffix(f".{os.getpid()}")
        half.write_text(json.dumps(asdict(ending), default=str), encoding="utf-8")
        half.replace(path)

    def _known(self, key: str) -> Ending | None:
        path = self._path(key)
        return ending_of(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def _path(self, key: str) -> Path:
        return self._folder / f"chaosd-{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def ending_of(data: dict[str, Any]) -> Ending:
    """An Ending from the JSON values of its fields."""
    run_dir = Path(data["run_dir"]) if data["run_dir"] else None
    return Ending(**{**data, "run_dir": run_dir, "reasons": tuple(data["reasons"]), "exit": Exit(data["exit"])})
