"""Gauges: what servers tell of themselves, read on their DIRECT side as long as a fault is about.

A fault names the values that would show it (its proofs compare them); here they are read and become rows. The reader
must be one that the fault leaves alone: a session that is open already, of a role with reserved connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field

from chaosd.kernel.clock import Clock
from chaosd.kernel.errors import StackError
from chaosd.testbed.pace import Pace
from chaosd.testbed.testbed import Testbed

# The values of one set, in the order of its names.
Read = Callable[[], Awaitable[Sequence[int]]]
# A row of the columns `gauges`: t_ns, gauge, value.
Record = Callable[[tuple[int, ...]], None]

_PERIOD_S = 0.2
_EDGE_PERIOD_S = 0.1
_OPEN_S = 3.0
_READ_S = 1.0
_UNREADABLE = (StackError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Gauges:
    """Values of the server `on` (a part, or `kafka/1`) that are read together.

    `session(testbed)` opens what is kept between readings and gives the reader; both raise StackError, OSError or
    TimeoutError while the server cannot tell. Two sets with the same names tell the same and are read once.
    """

    on: str
    names: tuple[str, ...]
    session: Callable[[Testbed], AbstractAsyncContextManager[Read]] = field(compare=False)

    @property
    def titles(self) -> tuple[str, ...]:
        """The names as the journal keeps them: `redis.maxmemory`."""
        return tuple(f"{self.on}.{name}" for name in self.names)


class Meters:
    """Reads all gauges of a run that it is told to watch."""

    def __init__(self, testbed: Testbed, clock: Clock, record: Record) -> None:
        self._testbed = testbed
        self._clock = clock
        self._record = record
        self._pace = Pace(clock)
        self._wanted: list[Gauges] = []
        self._more = asyncio.Event()
        self.titles: list[str] = []

    def watch(self, wanted: Iterable[Gauges]) -> tuple[str, ...]:
        """Read these from now on; gives the titles of all that are watched, which rows index."""
        for one in wanted:
            if one not in self._wanted:
                self._wanted.append(one)
                self.titles.extend(title for title in one.titles if title not in self.titles)
        self._more.set()
        return tuple(self.titles)

    def edge(self) -> None:
        """A fault begins or ends about now: read at once, and more often for a second."""
        self._pace.edge()

    async def run(self) -> None:
        """Read until cancelled."""
        begun = 0
        async with asyncio.TaskGroup() as group:
            while True:
                await self._more.wait()
                self._more.clear()
                for one in self._wanted[begun:]:
                    group.create_task(self._follow(one), name=f"gauges of {one.on}")
                begun = len(self._wanted)

    async def _follow(self, one: Gauges) -> None:
        """A server that cannot tell leaves no rows, and is asked again."""
        while True:
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(_OPEN_S):
                        read = await stack.enter_async_context(one.session(self._testbed))
                    while True:
                        await self._once(one, read)
                        await self._pause()
            except _UNREADABLE:
                await self._pause()

    async def _once(self, one: Gauges, read: Read) -> None:
        async with asyncio.timeout(_READ_S):
            values = await read()
        t_ns = self._clock.now_ns()
        for title, value in zip(one.titles, values, strict=True):
            self._record((t_ns, self.titles.index(title), int(value)))

    async def _pause(self) -> None:
        await self._pace.pause(_PERIOD_S, _EDGE_PERIOD_S)
