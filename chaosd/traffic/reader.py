"""Reads partitions by own positions, without a group that could get stuck.

aiokafka's consumer can stop silently after an outage (its issues 847, 983, 1154): a reader that makes no progress
although there is more to read takes a new consumer at the same positions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from chaosd.kernel.clock import SECOND, Clock
from chaosd.traffic.sight import Record

# Called with what one poll gave, partition by partition.
Take = Callable[[Sequence[Record]], None]
# Called with a span [from_ns, until_ns] in which there may have been more to read than was read.
Blind = Callable[[int, int], None]

_STALL_NS = 3 * SECOND
# A poll that finds nothing takes 200 ms; what is read after a longer time without a record may have been there before.
_BLIND_NS = SECOND // 2
_POLL_MS = 200
_RECORDS_MAX = 2_000
# Between two polls: records that come one by one are fetched together, which costs a fraction.
_PAUSE_S = 0.02
_CALL_S = 2.0
_RETRY_S = 0.1
# aiokafka asserts where a partition is no longer assigned.
_FAILURES = (KafkaError, OSError, TimeoutError, AssertionError)


class Reader:
    """Reads from `positions` on; `positions` always names the next offset of each partition.

    `renewed` counts the consumers that were replaced.
    """

    def __init__(
        self,
        bootstrap: str,
        name: str,
        positions: Mapping[TopicPartition, int],
        clock: Clock,
        blind: Blind | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._name = name
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._blind = blind
        self._moved_ns = clock.now_ns()
        self._sure_ns = self._moved_ns  # up to here all that there was had been read
        self._step_by_step = asyncio.Lock()
        self.positions = dict(positions)
        self.renewed = 0

    async def follow(self, take: Take, ends: Callable[[], Mapping[TopicPartition, int]]) -> None:
        """Read until cancelled. `ends` are the ends last seen by somebody else: the stall is judged by them."""
        while True:
            async with self._step_by_step:
                await self._step(take, ends(), list(self.positions))
            await asyncio.sleep(_PAUSE_S)

    async def read_to(self, take: Take, ends: Mapping[TopicPartition, int]) -> None:
        """Read until every partition in `ends` has reached its end. The caller bounds the time."""
        while wanting := [tp for tp, end in ends.items() if self.positions[tp] < end]:
            await self._step(take, ends, wanting)

    async def _step(
        self,
        take: Take,
        ends: Mapping[TopicPartition, int],
        wanting: Sequence[TopicPartition],
    ) -> None:
        try:
            consumer = self._consumer or await self._open()
            found = await consumer.getmany(*wanting, timeout_ms=_POLL_MS, max_records=_RECORDS_MAX)
            self._look(found=bool(found), ends=ends, wanting=wanting)
            for partition, records in found.items():
                take(records)
                self.positions[partition] = records[-1].offset + 1
            now_ns = self._clock.now_ns()
            if found:
                self._moved_ns = now_ns
            elif any(self.positions[tp] < ends.get(tp, 0) for tp in wanting):
                await self._past_markers(consumer, wanting)
            else:
                self._moved_ns = now_ns
            if now_ns - self._moved_ns > _STALL_NS:
                await self._renew()
        except _FAILURES:
            await self._renew()
            await asyncio.sleep(_RETRY_S)

    def _look(self, *, found: bool, ends: Mapping[TopicPartition, int], wanting: Sequence[TopicPartition]) -> None:
        """Tell of the time in which this reader stood still, though nobody can say that there was nothing to read.

        Without ends (the broker answers nobody) nothing is known, and a consumer that stopped silently looks the same.
        """
        now_ns = self._clock.now_ns()
        if found and self._blind is not None and now_ns - self._sure_ns > _BLIND_NS:
            self._blind(self._sure_ns, now_ns)
        if found or all(tp in ends and self.positions[tp] >= ends[tp] for tp in wanting):
            self._sure_ns = now_ns

    async def let_go(self, topic: str) -> dict[TopicPartition, int]:
        """Read no more of a topic, and give where each of its partitions was left. Nothing of it is read afterwards."""
        async with self._step_by_step:
            left = {at: position for at, position in self.positions.items() if at.topic == topic}
            self.positions = {at: position for at, position in self.positions.items() if at not in left}
            if self._blind is not None and (now_ns := self._clock.now_ns()) - self._sure_ns > _BLIND_NS:
                self._blind(self._sure_ns, now_ns)
            await self.close()
        return left

    async def take_up(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, too, each from its position on."""
        async with self._step_by_step:
            self.positions = {**self.positions, **positions}
            await self.close()

    def behind(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether there is more to read, by the ends last seen by somebody else."""
        return any(position < ends.get(tp, 0) for tp, position in self.positions.items())

    async def _past_markers(self, consumer: AIOKafkaConsumer, wanting: Sequence[TopicPartition]) -> None:
        """Transaction markers are offsets without a record: the consumer's own position passes them."""
        for partition in wanting:
            async with asyncio.timeout(_CALL_S):
                position = await consumer.position(partition)
            if position > self.positions[partition]:
                self.positions[partition] = position
                self._moved_ns = self._clock.now_ns()

    async def _open(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=f"chaosd-{self._name}",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=500,
            retry_backoff_ms=50,
            request_timeout_ms=5_000,
        )
        try:
            async with asyncio.timeout(_CALL_S * 2):
                await consumer.start()
        except _FAILURES:
            await _stop(consumer)
            raise
        consumer.assign(list(self.positions))
        for partition, offset in self.positions.items():
            consumer.seek(partition, offset)
        self._consumer = consumer
        self._moved_ns = self._clock.now_ns()
        return consumer

    async def _renew(self) -> None:
        self.renewed += 1
        await self.close()

    async def close(self) -> None:
        """Give the consumer up; a later step takes a new one."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with suppress(*_FAILURES):
        async with asyncio.timeout(_CALL_S):
            await consumer.stop()
