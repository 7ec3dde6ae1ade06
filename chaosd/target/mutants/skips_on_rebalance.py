"""Starts at the end of the log whenever partitions are assigned to it: what came during the rebalance is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.source import Batch, Source


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    def __init__(self) -> None:
        self.fresh: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.fresh.clear()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.fresh.update(assigned)


class FromTheEnd(Source):
    """The reference's source, which takes a new assignment for a new beginning."""

    _listener: _Listener | None = None

    async def _connect(self) -> AIOKafkaConsumer:
        known, consumer = self._consumer, await super()._connect()
        if consumer is not known:
            self._listener = _Listener()
            consumer.subscribe([self._settings.input_topic], listener=self._listener)
        return consumer

    async def poll(self) -> Batch:
        """What comes from now on."""
        if self._consumer is not None and self._listener is not None and self._listener.fresh:
            fresh, self._listener.fresh = self._listener.fresh, set()
            await self._consumer.seek_to_end(*fresh)
        return await super().poll()


BUILD = Build(source=FromTheEnd)

if __name__ == "__main__":
    sys.exit(main(BUILD))
