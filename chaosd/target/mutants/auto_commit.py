"""Commits before the effects, as auto-commit does before a pool of workers: what is in work when it dies is lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Parts, Pipeline
from chaosd.target.reference.source import Batch

# How long a record waits for its worker: as long as some come in, there are some that a death loses.
_QUEUED_S = 0.2
_BATCHES_MAX = 8


class AutoCommit(Pipeline):
    """The reference, but committed as soon as received, and processed by a worker that comes later."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._queue: asyncio.Queue[tuple[float, Sequence[ConsumerRecord]]] = asyncio.Queue(_BATCHES_MAX)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what waits for the worker is finished first."""
        async with asyncio.TaskGroup() as group:
            worker = group.create_task(self._work())
            await super().run(stop)
            await self._queue.join()
            worker.cancel()

    async def handle(self, batch: Batch) -> None:
        """Commit, and leave the rest to the worker."""
        await self.parts.source.finish(batch.offsets)
        await self._queue.put((asyncio.get_running_loop().time() + _QUEUED_S, batch.records))

    async def _work(self) -> None:
        while True:
            due_s, records = await self._queue.get()
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            await self.process(records)
            self._queue.task_done()


BUILD = Build(pipeline=AutoCommit)

if __name__ == "__main__":
    sys.exit(main(BUILD))
