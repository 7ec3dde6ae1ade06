"""Samples what the broker says of the run: the target's committed offsets, the topics' ends, the state of its group.

On clients of its own and with short time-outs, so that an outage delays neither the tap nor the next sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from chaosd.journal.columns import PROGRESS
from chaosd.kernel.clock import SECOND, Clock
from chaosd.stack.address import Address
from chaosd.stack.part import NotReady
from chaosd.stack.parts.kafka import protocol
from chaosd.traffic.config import Config, Followed

_PERIOD_S = 0.18
_CALL_S = 1.0
_START_S = 4.0
# Ends of result topics, log starts and the group's state change slowly, or only matter when they stay so.
_SLOW_NS = SECOND
_HEALTHY_NS = SECOND
# An answer of a broker that is just starting may lack what aiokafka reads from it (AttributeError, IndexError).
FAILURES = (KafkaError, OSError, TimeoutError, AttributeError, IndexError, AssertionError)


class Progress:
    """The last sample: `committed` by input partition, `ends` and `log_starts` of all partitions of the run; `inside`:
    how far the groups of topics between the target's services have come. A target without a group has no commits.

    It tells how things were at `asked_ns` or later.
    """

    def __init__(self, config: Config, clock: Clock, record: Callable[[np.ndarray], None]) -> None:
        self._config = config
        self._clock = clock
        self._record = record
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._coordinators: dict[str, int] = {}
        self._slow_ns = 0
        self._sampled_ns = 0
        self.asked_ns = 0
        self._states: dict[str, int] = {}
        self._index = {topic.name: n for n, topic in enumerate(config.topics)}
        self._all = [TopicPartition(topic.name, n) for topic in config.topics for n in range(topic.partitions)]
        self._groups = {one.name: one.group for one in config.inputs}
        self.inputs = [partition for partition in self._all if partition.topic in self._groups]
        self.committed: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.log_starts: dict[TopicPartition, int] = {}
        self.inside: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            try:
                await self._sample()
            except FAILURES:
                await self.close()
            await asyncio.sleep(_PERIOD_S)

    def healthy_ends(self) -> Mapping[TopicPartition, int]:
        """The ends as last seen, but none while the broker does not answer: a reader must not be blamed for that."""
        return self.ends if self._clock.now_ns() - self._sampled_ns < _HEALTHY_NS else {}

    def let_go(self, topic: str) -> None:
        """Ask no more for a topic that is not there."""
        self._all = [at for at in self._all if at.topic != topic]
        for known in (self.ends, self.log_starts):
            for at in [at for at in known if at.topic == topic]:
                del known[at]

    def take_up(self, topic: str, index: int, partitions: int) -> None:
        """Ask for a topic that has come back; its rows name it by another index than before."""
        self._index[topic] = index
        self._all += [TopicPartition(topic, number) for number in range(partitions)]

    async def there(self, topic: str) -> int | None:
        """How many partitions of a topic have a leader, 0 where there is no such topic; None without an answer."""
        for broker in self._config.bootstrap.split(","):
            host, _, port = broker.rpartition(":")
            with suppress(NotReady, OSError, TimeoutError):
                told = await protocol.metadata(Address(host, int(port)))
                partitions = told.partitions.get(topic, {}).values()
                return sum(one.leader in told.brokers for one in partitions)
        return None

    async def bounds(
        self, partitions: Sequence[TopicPartition] = ()
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Log starts and ends of these, or of all partitions, now. Raises KafkaError or TimeoutError without answer."""
        asked = list(partitions) or self._all
        consumer, _ = await self._clients()
        async with asyncio.timeout(_CALL_S * 3):
            starts = await consumer.beginning_offsets(asked)
            ends = await consumer.end_offsets(asked)
        return dict(starts), dict(ends)

    async def _clients(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        if self._consumer is None or self._admin is None:
            await self.close()
            async with asyncio.timeout(_START_S):
                common: dict[str, Any] = {"bootstrap_servers": self._config.bootstrap, "request_timeout_ms": 3_000}
                self._consumer = AIOKafkaConsumer(
                    client_id="chaosd-progress",
                    group_id=None,
                    enable_auto_commit=False,
                    isolation_level="read_committed",
                    **common,
                )
                await self._consumer.start()
                self._admin = AIOKafkaAdminClient(client_id="chaosd-progress", **common)
                await self._admin.start()
        return self._consumer, self._admin

    async def _sample(self) -> None:
        consumer, admin = await self._clients()
        now_ns = self._clock.now_ns()
        slow = now_ns - self._slow_ns >= _SLOW_NS
        offsets: dict[TopicPartition, Any] = {}
        async with asyncio.timeout(_CALL_S):
            for group in self._named:
                if group not in self._coordinators:
                    self._coordinators[group] = await admin.find_coordinator(group)
                asked = [at for at in self.inputs if self._groups[at.topic] == group]
                offsets |= await admin.list_consumer_group_offsets(group, self._coordinators[group], asked)
        inside = [row for one in self._config.inside for row in await self._inside(consumer, admin, one)]
        async with asyncio.timeout(_CALL_S):
            self.ends.update(await consumer.end_offsets(self._all if slow else self.inputs))
        self._sampled_ns = self._clock.now_ns()
        if slow:
            async with asyncio.timeout(_CALL_S):
                self.log_starts.update(await consumer.beginning_offsets(self._all))
                self._states = {group: await self._stable(admin, group) for group in self._named}
            self._slow_ns = now_ns
        self.asked_ns = now_ns
        self.inside = inside
        self.committed = {partition: found.offset for partition, found in offsets.items()}
        self._record(self._rows(self._all if slow else self.inputs))

    @property
    def _named(self) -> list[str]:
        """The groups that read inputs, each once."""
        return [group for group in dict.fromkeys(self._groups.values()) if group]

    async def _inside(
        self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, one: Followed
    ) -> list[dict[str, Any]]:
        """Committed and end of each partition of a topic between services. The commits are asked for first."""
        partitions = [TopicPartition(one.name, number) for number in range(one.partitions)]
        async with asyncio.timeout(_CALL_S):
            offsets = await admin.list_consumer_group_offsets(one.group, None, partitions)
            ends = await consumer.end_offsets(partitions)
        return [
            {
                "topic": one.name,
                "partition": at.partition,
                "committed": offsets[at].offset if at in offsets else -1,
                "end": ends[at],
            }
            for at in partitions
        ]

    async def _stable(self, admin: AIOKafkaAdminClient, group: str) -> int:
        answers = await admin.describe_consumer_groups([group], self._coordinators[group])
        return int(any(group[2] == "Stable" for answer in answers for group in answer.groups))

    def _rows(self, partitions: list[TopicPartition]) -> np.ndarray:
        now_ns = self._clock.now_ns()
        return np.array(
            [
                (
                    now_ns,
                    self._index[partition.topic],
                    partition.partition,
                    self.committed.get(partition, -1),
                    self.log_starts.get(partition, -1),
                    self.ends.get(partition, -1),
                    self._state(partition.topic),
                )
                for partition in partitions
            ],
            PROGRESS.dtype,
        )

    def _state(self, topic: str) -> int:
        """1 where the group that reads this input is Stable; of another topic, where all of them are."""
        group = self._groups.get(topic)
        asked = self._named if group is None else [group]
        return min((self._states.get(one, 0) for one in asked), default=0)

    def summary(self, starts: Mapping[TopicPartition, int]) -> list[dict[str, int | str]]:
        """Committed and end of each input partition; `start` is where the run began to read."""
        return [
            {
                "topic": partition.topic,
                "partition": partition.partition,
                "committed": self.committed.get(partition, -1),
                "end": self.ends.get(partition, -1),
                "start": starts.get(partition, 0),
            }
            for partition in self.inputs
        ]

    async def close(self) -> None:
        """Give the clients up; the next sample takes new ones."""
        consumer, admin = self._consumer, self._admin
        self._consumer = self._admin = None
        self._coordinators = {}
        for stop in (consumer and consumer.stop, admin and admin.close):
            if stop is not None:
                with suppress(*FAILURES):
                    async with asyncio.timeout(_CALL_S):
                        await stop()
