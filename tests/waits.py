"""Waiting for a condition, with an end, and with words for what was waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], T], waits_for: str = "the condition", within_s: float = 60.0) -> T:
    """Wait until the condition gives something true; that is returned."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {within_s} s for {waits_for}"
        await asyncio.sleep(0.01)
    return value


def blocking_until(condition: Callable[[], T], waits_for: str = "the condition", within_s: float = 60.0) -> T:
    """The same where no loop runs, or where it is to stand still meanwhile."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {within_s} s for {waits_for}"
        time.sleep(0.02)
    return value
