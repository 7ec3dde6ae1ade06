"""How long chaosd waits for others on a machine that is slower than most. It scales waits and never a judged limit."""

from __future__ import annotations

import os

from chaosd.kernel.errors import UsageError

VARIABLE = "CHAOSD_TIMEOUT_SCALE"


def scale() -> float:
    """What waits are multiplied with: CHAOSD_TIMEOUT_SCALE, or 1. Raises UsageError for what is no number above 0."""
    given = os.environ.get(VARIABLE, "1")
    try:
        factor = float(given)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 100:
        raise UsageError(f"{VARIABLE} is {given!r}", remedy="a number above 0 and up to 100, such as 2.5")
    return factor


def set_for_children(factor: float) -> None:
    """Hand it on to every process that this one starts."""
    os.environ[VARIABLE] = f"{factor:g}"
