"""Results and errors into Kafka: sent in order, and returned from only when every one is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chaosd.target.reference.retry import Retry

# What the broker takes in one record (its default max.message.bytes is 1 MiB), with room for the record's own overhead.
MAX_RECORD_BYTES = 1_000_000
_MAX_REQUEST_BYTES = 1_048_576
# aiokafka's request_timeout_ms is also the life of a batch while a partition has no leader, even for the idempotent
# producer: an outage that is longer burns the batch's sequence number, and the partition then refuses later batches.
_REQUEST_TIMEOUT_MS = 40_000
_RETRY_BACKOFF_MS = 50
_DELIVERY_TIMEOUT_S = 45.0  # past the client's own limit
_START_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 1.0
_TRANSIENT = (KafkaError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Message:
    """One record to send."""

    topic: str
    key: bytes | None
    value: bytes


class Outbox:
    """An idempotent producer, which is replaced when it can no longer be trusted."""

    def __init__(self, bootstrap: str, retry: Retry) -> None:
        self._bootstrap = bootstrap
        self._retry = retry
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> None:
        """Connect the producer."""
        await self._retry.until_done("kafka.producer", self._connect, _TRANSIENT)

    async def send(self, messages: Sequence[Message]) -> None:
        """Send all; retries for ever. A record whose acknowledgement was lost may be there twice."""
        left = list(messages)

        async def attempt() -> None:
            nonlocal left
            producer = await self._connect()
            left, error = await _deliver(producer, left)
            if error is not None:
                # A failed delivery leaves a gap in the producer's sequence numbers.
                await self._discard()
                raise error

        if left:
            await self._retry.until_done("kafka.produce", attempt, _TRANSIENT)

    async def close(self) -> None:
        """Stop the producer, bounded."""
        await self._discard()

    async def _connect(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            max_batch_size=_MAX_REQUEST_BYTES,
            max_request_size=_MAX_REQUEST_BYTES,
        )
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await producer.start()
        except BaseException:
            await _stop(producer)
            raise
        self._producer = producer
        return producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


async def _deliver(producer: AIOKafkaProducer, messages: list[Message]) -> tuple[list[Message], Exception | None]:
    """The messages that were not acknowledged, in order, and the first error."""
    deliveries: list[asyncio.Future[object]] = []
    error: Exception | None = None
    try:
        for message in messages:
            delivery = await producer.send(message.topic, message.value, key=message.key)
            deliveries.append(delivery)
    except _TRANSIENT as refused:
        error = refused
    if deliveries:
        await asyncio.wait(deliveries, timeout=_DELIVERY_TIMEOUT_S)
    left = messages[len(deliveries) :]
    undelivered = []
    for message, delivery in zip(messages, deliveries, strict=False):
        failure = (
            delivery.exception() if delivery.done() and not delivery.cancelled() else TimeoutError("not acknowledged")
        )
        if failure is None:
            continue
        if not isinstance(failure, _TRANSIENT):
            raise failure
        undelivered.append(message)
        error = error or failure
    return undelivered + left, error


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await producer.stop()
    except _TRANSIENT:
        return  # it is thrown away; what it still held is sent again by its successor
