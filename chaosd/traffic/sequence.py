"""What aiokafka's idempotent producer keeps to itself: how often a batch was tried, and the numbers of its records.

A batch takes its sequence numbers when it is first sent, and keeps them. One that the broker refuses for good leaves a
gap, and the partition then refuses every later batch (OutOfOrderSequenceNumber) until its producer is replaced. Java's
client takes the numbers of such a batch back; aiokafka 0.14 does not. The producer has one batch under way for each
partition, so nothing later can have been numbered meanwhile.

Reads private attributes of AIOKafkaProducer; tests/unit/test_sequence.py holds them against the installed client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition


@dataclass(frozen=True, slots=True)
class Batch:
    """The batch that a record has just been put into."""

    partition: TopicPartition
    of: Any

    @property
    def tries(self) -> int:
        """How often it was handed to a broker."""
        return int(self.of.retry_count)


def newest(producer: AIOKafkaProducer, topic: str, partition: int) -> Batch:
    """The batch of the record whose `send` has just returned: nothing may be awaited in between."""
    at = TopicPartition(topic, partition)
    return Batch(at, producer._message_accumulator._batches[at][-1])  # noqa: SLF001


def take_back(producer: AIOKafkaProducer, batch: Batch) -> None:
    """Of one record of a refused batch, before the partition's next batch is numbered: in a callback of its `send`."""
    producer._txn_manager.increment_sequence_number(batch.partition, -1)  # noqa: SLF001
