"""Retries for ever what failed once, with the connection that broke: its partition never gets on, the others do."""

from __future__ import annotations

import sys

from aiokafka import ConsumerRecord, TopicPartition

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Parts, Pipeline
from chaosd.target.reference.retry import GaveUpError, Retry
from chaosd.target.reference.source import Batch


class TriesOnce(Retry):
    """Leaves the second attempt to the partition's own loop."""

    attempts_max = 1


class BlocksPartition(Pipeline):
    """The reference, one partition after the other. What is behind a failed record waits for it."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._blocked: set[TopicPartition] = set()

    async def handle(self, batch: Batch) -> None:
        """Process and commit each partition on its own."""
        for partition, offset in batch.offsets.items():
            if partition not in self._blocked:
                await self._one(partition, offset, [r for r in batch.records if r.partition == partition.partition])

    async def _one(self, partition: TopicPartition, offset: int, records: list[ConsumerRecord]) -> None:
        try:
            await self.process(records)
        except GaveUpError:
            # From now on every attempt fails as this one did: the broken connection is asked again and again.
            self._blocked.add(partition)
        else:
            await self.parts.source.finish({partition: offset})


BUILD = Build(pipeline=BlocksPartition, retry=TriesOnce)

if __name__ == "__main__":
    sys.exit(main(BUILD))
