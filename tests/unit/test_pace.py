"""Pauses between probes: an edge cuts them short once, and is in nobody's way while it lasts."""

from __future__ import annotations

import asyncio

from chaosd.kernel.clock import SystemClock
from chaosd.testbed.pace import Pace

NEVER_S = 1e9
TURNS = 20


async def woken(pausing: asyncio.Task[None]) -> bool:
    """Whether a pause has ended, after the loop has had its turns; ended in any case."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
    ended = pausing.done()
    pausing.cancel()
    await asyncio.wait({pausing})
    return ended


async def pausing(pace: Pace, usual_s: float, dense_s: float) -> asyncio.Task[None]:
    """A pause that has begun."""
    task = asyncio.create_task(pace.pause(usual_s, dense_s))
    await asyncio.sleep(0)
    return task


async def test_an_edge_ends_a_pause():
    pace = Pace(SystemClock())
    task = await pausing(pace, NEVER_S, 1.0)
    pace.edge()
    assert await woken(task)


async def test_a_probe_that_is_never_dense_sleeps_on():
    pace = Pace(SystemClock())
    task = await pausing(pace, NEVER_S, NEVER_S)
    pace.edge()
    assert not await woken(task)


async def test_near_an_edge_another_one_wakes_nobody():
    pace = Pace(SystemClock())
    pace.edge()
    task = await pausing(pace, 2 * NEVER_S, NEVER_S)
    pace.edge()
    assert not await woken(task)
