"""Gives each SYSTEM_ERROR a correlation id of its own, so that nobody finds the event it is about."""

from __future__ import annotations

import sys
import uuid

import msgspec
from aiokafka import ConsumerRecord

from chaosd.envelope import wire
from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Unprocessable
from chaosd.target.reference.dlq import DeadLetters
from chaosd.target.reference.outbox import Message


class FreshCorrelation(DeadLetters):
    """The reference's dead letters, out of their chain."""

    def letter(self, record: ConsumerRecord, why: Unprocessable) -> Message:
        """The record for the DLQ."""
        right = super().letter(record, why)
        envelope = msgspec.structs.replace(wire.decode(right.value), correlation_id=uuid.uuid4())
        return Message(right.topic, right.key, wire.encode(envelope))


BUILD = Build(dead_letters=FreshCorrelation)

if __name__ == "__main__":
    sys.exit(main(BUILD))
