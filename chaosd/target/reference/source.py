"""Batches from Kafka, and the offsets that are finished."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from chaosd.target.reference.noise import Noise
from chaosd.target.reference.retry import Retry
from chaosd.target.reference.settings import Settings

_BATCH_MAX = 1000
_POLL_MS = 100
# One fetch to a broker is under way at a time: a partition that is not in it waits for its end.
_FETCH_WAIT_MS = 20
_SESSION_TIMEOUT_MS = 6_000  # the least that a broker takes by default
_HEARTBEAT_MS = 500
_REQUEST_TIMEOUT_MS = 5_000
_RETRY_BACKOFF_MS = 50
_START_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 1.0
_COMMIT_TIMEOUT_S = 2.0
_LOOK_TIMEOUT_S = 1.0
_IDLE_LOOK_S = 1.5
_TRANSIENT = (KafkaError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order of their partitions, and the offsets to commit once they are finished."""

    records: Sequence[ConsumerRecord]
    offsets: dict[TopicPartition, int]


class Source:
    """A static member of the consumer group. Offsets are committed only by `finish`, and until that succeeds."""

    def __init__(self, settings: Settings, retry: Retry, noise: Noise) -> None:
        self._settings = settings
        self._retry = retry
        self._noise = noise
        self._consumer: AIOKafkaConsumer | None = None
        self._finished: dict[TopicPartition, int] = {}
        self._last_record_s = time.monotonic()
        self._behind: dict[TopicPartition, int] = {}

    async def open(self) -> None:
        """Join the group; returns with an assignment."""
        await self._retry.until_done("kafka.consumer", self._connect, _TRANSIENT)

    async def poll(self) -> Batch:
        """What has come since, at most 1000 records; empty after 100 ms without any."""
        try:
            consumer = await self._connect()
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_MAX)
        except _TRANSIENT as error:
            # The consumer's own background task may have died of this error, and then it never reads again.
            self._noise.failed("kafka.poll", error)
            await self._discard()
            await asyncio.sleep(_RETRY_BACKOFF_MS / 1000)
            return Batch((), {})
        if polled:
            self._last_record_s = time.monotonic()
            self._behind = {}
        else:
            await self._settle_idle(consumer)
        records = [record for batch in polled.values() for record in batch]
        return Batch(records, {partition: batch[-1].offset + 1 for partition, batch in polled.items()})

    async def finish(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit. What cannot be committed now is committed with the next batch, or in the next idle moment."""
        self._finished.update(offsets)
        if not self._finished or self._consumer is None:
            return
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await self._consumer.commit(dict(self._finished))
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions went to another member, or to this one anew: they are delivered again and found finished.
            self._noise.failed("kafka.commit", error)
            self._finished = {}
        except _TRANSIENT as error:
            self._noise.failed("kafka.commit", error)
        else:
            self._finished = {}

    def listener(self, consumer: AIOKafkaConsumer) -> ConsumerRebalanceListener | None:
        """Who is told of new assignments: nobody, for a batch is finished before the next one is fetched."""
        return None

    async def close(self) -> None:
        """Stop the consumer, bounded. A static member does not leave the group: its successor takes over."""
        await self._discard()

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            group_id=self._settings.group,
            group_instance_id=self._settings.instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=_SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        consumer.subscribe([self._settings.input_topic], listener=self.listener(consumer))
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await consumer.start()
        except BaseException:
            await _stop(consumer)
            raise
        self._consumer = consumer
        self._finished = {}
        self._last_record_s = time.monotonic()
        self._behind = {}
        return consumer

    async def _discard(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)

    async def _settle_idle(self, consumer: AIOKafkaConsumer) -> None:
        """In a quiet moment: commit what is left over, and see whether the consumer has stopped reading."""
        if self._finished:
            await self.finish({})
        if time.monotonic() - self._last_record_s < _IDLE_LOOK_S:
            return
        self._last_record_s = time.monotonic()
        behind = await self._look_behind(consumer)
        stuck = behind and behind == self._behind
        self._behind = behind
        if stuck:
            # aiokafka can stop reading without an error after it joined its group again (its issues 847, 983, 1154).
            self._noise.failed("kafka.poll", RuntimeError("records are waiting, but none is delivered"))
            await self._discard()

    async def _look_behind(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Positions of the partitions with records that were not delivered; empty when that cannot be seen now."""
        assigned = list(consumer.assignment())
        if not assigned:
            return {}
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                ends = await consumer.end_offsets(assigned)
                positions = {partition: await consumer.position(partition) for partition in assigned}
        except _TRANSIENT as error:
            self._noise.failed("kafka.look", error)
            return {}
        return {partition: at for partition, at in positions.items() if at < ends[partition]}


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await consumer.stop()
    except _TRANSIENT:
        return  # it is thrown away
