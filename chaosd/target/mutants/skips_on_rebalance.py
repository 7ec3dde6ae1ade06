"""Starts at the end of the log whenever partitions are assigned to it: what came during the rebalance is lost."""

from __future__ import annotations

import sys
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.source import Source


class _ToTheEnd(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """A batch is finished before the next one is fetched: nothing to do."""

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take a new assignment for a new beginning."""
        for partition, end in (await self._consumer.end_offsets(assigned)).items():
            self._consumer.seek(partition, end)


class FromTheEnd(Source):
    """The reference's source, which forgets where it was."""

    def listener(self, consumer: AIOKafkaConsumer) -> ConsumerRebalanceListener:
        """Who is told of new assignments."""
        return _ToTheEnd(consumer)


BUILD = Build(source=FromTheEnd)

if __name__ == "__main__":
    sys.exit(main(BUILD))
