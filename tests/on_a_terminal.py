"""`chaosd init` as a person meets it: with a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def told_on_a_terminal(folder: Path, *answers: str) -> tuple[int, str]:
    """`chaosd init` with a terminal of its own, which is answered line by line."""
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "chaosd", "init", str(folder)],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "PYTHONPATH": str(_ROOT), "TERM": "dumb"},
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, "".join(f"{line}\n" for line in answers).encode())
    said = b""
    try:
        with contextlib.suppress(OSError):  # the other end is closed
            while more := os.read(ours, 4096):
                said += more
        return asking.wait(120), said.decode()
    finally:
        os.close(ours)
        asking.kill()
        asking.wait()
