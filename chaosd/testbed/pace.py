"""How often the testbed is probed: seldom, and densely around the edges of faults."""

from __future__ import annotations

import asyncio

from chaosd.kernel.clock import SECOND, Clock

_EDGE_NS = SECOND


class Pace:
    """Pauses between probes, cut short when an edge is near: for a second after `edge` they are dense."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._dense_until_ns = 0
        self._sleepers: set[asyncio.Future[None]] = set()

    def edge(self) -> None:
        """A fault begins or ends about now.

        Where it is dense already nobody is woken: all of them at once would be in the way of the fault's own call.
        """
        now_ns = self._clock.now_ns()
        dense = now_ns < self._dense_until_ns
        self._dense_until_ns = now_ns + _EDGE_NS
        if dense:
            return
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    async def pause(self, usual_s: float, dense_s: float) -> None:
        """Sleep until the next point of the grid of `usual_s`, near an edge of `dense_s`.

        Where both are the same an edge wakes nobody.
        """
        loop = asyncio.get_running_loop()
        dense = self._clock.now_ns() < self._dense_until_ns
        sleeper: asyncio.Future[None] = loop.create_future()
        step_s = dense_s if dense else usual_s
        # On a common grid: probes that are due together wake the loop once.
        timer = loop.call_at((loop.time() // step_s + 1) * step_s, _wake, sleeper)
        if dense_s < usual_s:
            self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleepers.discard(sleeper)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
