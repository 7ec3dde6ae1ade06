"""Commits before the effects, as auto-commit does before a pool of workers: what is in work when it dies is lost."""

from __future__ import annotations

import asyncio
import sys

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Pipeline
from chaosd.target.reference.source import Batch

# How long a record waits for a worker: the window in which a death loses it.
_QUEUED_S = 0.2


class AutoCommit(Pipeline):
    """The reference, but committed as soon as received."""

    async def handle(self, batch: Batch) -> None:
        """Commit, then process."""
        await self.parts.source.finish(batch.offsets)
        await asyncio.sleep(_QUEUED_S)
        await self.process(batch.records)


BUILD = Build(pipeline=AutoCommit)

if __name__ == "__main__":
    sys.exit(main(BUILD))
