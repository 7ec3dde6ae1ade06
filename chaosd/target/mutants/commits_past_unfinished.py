"""Two workers by key, one of them slow; offsets are committed as soon as the quick one is done.

What the slow one still has in its hands when the process dies was committed past, and is lost.
"""

from __future__ import annotations

import asyncio
import sys

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Parts, Pipeline
from chaosd.target.reference.source import Batch

_SLOW_S = 0.2


class TwoWorkers(Pipeline):
    """The reference, with the odd partitions' records in the hands of a second, slow worker."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._waiting: list[ConsumerRecord] = []
        self._lock = asyncio.Lock()  # the parts serve one at a time

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then the slow worker ends as well."""
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(self._slowly(stop))
            await super().run(stop)
            slow.cancel()
        await self._rest()

    async def handle(self, batch: Batch) -> None:
        """Hand over what is the slow worker's, do the rest, commit everything."""
        self._waiting += [record for record in batch.records if record.partition % 2]
        async with self._lock:
            await self.process([record for record in batch.records if not record.partition % 2])
        await self.parts.source.finish(batch.offsets)

    async def _slowly(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(_SLOW_S)
            await self._rest()

    async def _rest(self) -> None:
        records, self._waiting = self._waiting, []
        async with self._lock:
            await self.process(records)


BUILD = Build(pipeline=TwoWorkers)

if __name__ == "__main__":
    sys.exit(main(BUILD))
