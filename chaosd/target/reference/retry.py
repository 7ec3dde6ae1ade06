"""Retries for ever, with a capped pause: an outage is waited out, and its end is noticed within half a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from chaosd.target.reference.noise import Noise

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: `first_s`, doubled up to `cap_s`."""

    first_s: float = 0.05
    cap_s: float = 0.5

    def pause_s(self, failures: int) -> float:
        """The pause after the `failures`-th failure in a row (counted from 1)."""
        return min(self.first_s * float(2 ** min(failures - 1, 30)), self.cap_s)


class GaveUpError(Exception):
    """A step failed as often as it may. The reference never gives up; a mutant may."""


class Retry:
    """One policy for every dependency of the pipeline."""

    attempts_max: int | None = None  # without end

    def __init__(self, noise: Noise, backoff: Backoff | None = None) -> None:
        self._noise = noise
        self._backoff = backoff or Backoff()

    async def until_done(
        self, step: str, attempt: Callable[[], Awaitable[T]], transient: tuple[type[Exception], ...]
    ) -> T:
        """Repeat `attempt` until it returns; any error outside `transient` is raised.

        `attempt` must be idempotent and must bound its own waiting: an error may come after the work was done.
        """
        failures = 0
        while True:
            try:
                return await attempt()
            except transient as error:
                failures += 1
                self._noise.failed(step, error)
                if failures == self.attempts_max:
                    raise GaveUpError(f"{step}: {type(error).__name__}") from error
            await asyncio.sleep(self._backoff.pause_s(failures))
