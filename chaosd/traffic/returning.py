"""Topics that were deleted, until others of their names are there.

Offsets of a topic that was made again begin again, so its records are those of another topic: it gets an index of its
own in the rows, after all others. Then (topic, partition, offset) names one record, as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosd.kernel.clock import Clock
from chaosd.traffic.config import Topic
from chaosd.traffic.sight import Sight

if TYPE_CHECKING:
    from chaosd.traffic.progress import Progress


_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Back:
    """A topic that is there again as `index`; until then it was `of`. It was still missing at `missing_ns`."""

    topic: str
    index: int
    of: int
    role: str
    partitions: int
    missing_ns: int


class Returning:
    """Which topics are `awaited`, and since when each was last seen missing."""

    def __init__(self, topics: Sequence[Topic], progress: Progress, sight: Sight) -> None:
        self._known = {topic.name: (number, topic) for number, topic in enumerate(topics)}
        self._next = len(topics)
        self._progress = progress
        self._sight = sight
        self.awaited: dict[str, int] = {}
        self._any_awaited = asyncio.Event()

    async def await_return(self, topic: str, now_ns: int) -> tuple[int, bool]:
        """A topic was deleted, and nobody reads it any more. Gives its index, and whether it is not yet there again:
        only then nothing of its successor can have been read as its own.
        """
        self._progress.let_go(topic)
        clean = await self._progress.there(topic) == 0
        self.awaited[topic] = now_ns
        self._any_awaited.set()
        return self._known[topic][0], clean

    async def follow(self, clock: Clock) -> AsyncIterator[Back]:
        """Each topic when it is there again, without end. Kafka is asked only while one is awaited."""
        while True:
            await self._any_awaited.wait()
            for back in await self.returned(clock):
                yield back
            if not self.awaited:
                self._any_awaited.clear()
            await asyncio.sleep(_POLL_S)

    async def returned(self, clock: Clock) -> list[Back]:
        """Those that are there again by now, with all partitions led; each is told once."""
        back = []
        for name, missing_ns in list(self.awaited.items()):
            now_ns = clock.now_ns()
            before, topic = self._known[name]
            led = await self._progress.there(name)
            if led == 0:
                self.awaited[name] = now_ns
            if led != topic.partitions:
                continue
            del self.awaited[name]
            back.append(Back(name, self._next, before, topic.role, topic.partitions, missing_ns))
            self._known[name] = (self._next, topic)
            self._sight.name_anew(name, self._next)
            self._progress.take_up(name, self._next, topic.partitions)
            self._next += 1
        return back
