"""Dead letters: what cannot be processed goes to the DLQ as a SYSTEM_ERROR with all it takes to mend or replay it."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord

from chaosd.envelope import identity, wire
from chaosd.envelope.kinds import ErrorType, EventType
from chaosd.target.reference.contract import Unprocessable
from chaosd.target.reference.outbox import MAX_RECORD_BYTES, Message
from chaosd.target.reference.strategy import SOURCE

# Names the letters of records that carry no readable id: the same record gives the same id again.
_NAMESPACE = uuid.UUID("5f1c5d0e-8f0e-4d0c-9a3b-1f6f0e6f2b7a")
_KEPT_OF_A_GIANT_BYTES = 65_536
_TIMESTAMP_MAX_MS = 253_402_300_799_000  # the end of the year 9999, where datetime ends; Kafka's goes further


@dataclass(frozen=True, slots=True)
class Origin:
    """What could be read of the original envelope, None where nothing could."""

    id: uuid.UUID | None = None
    correlation_id: uuid.UUID | None = None
    trace_id: uuid.UUID | None = None
    broker: str = ""


class DeadLetters:
    """Makes the SYSTEM_ERROR for a record. `error_type` is what the record suffers from: poison never gets better."""

    error_type = ErrorType.POISON

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def letter(self, record: ConsumerRecord, why: Unprocessable) -> Message:
        """The record for the DLQ, under the original key.

        The original value is carried whole. Only one that Kafka would not take back (its text is longer than its bytes)
        is cut, and the reason says so.
        """
        value = self._encode(record, why, record.value)
        if len(value) > MAX_RECORD_BYTES:
            cut = Unprocessable(
                why.error_class, why.message, f"{why.reason}; the original value is cut, it is too long"
            )
            value = self._encode(record, cut, record.value[:_KEPT_OF_A_GIANT_BYTES])
        return Message(self._topic, record.key, value)

    def data(self, record: ConsumerRecord, why: Unprocessable, value: bytes | None, now: datetime) -> dict[str, Any]:
        """What the SYSTEM_ERROR says of the record."""
        original = datetime.fromtimestamp(min(max(record.timestamp, 0), _TIMESTAMP_MAX_MS) / 1000, UTC)
        return {
            "dlq_metadata": {
                "original_topic": record.topic,
                "original_partition": record.partition,
                "original_offset": record.offset,
                "original_timestamp": original.isoformat(),
                "dlq_timestamp": now.isoformat(),
                "service_name": SOURCE,
            },
            "failure_info": {
                "error_type": self.error_type,
                "error_class": why.error_class,
                "error_message": why.message,
                "failure_reason": why.reason,
                "retry_count": 0,
            },
            "original_message": {
                "key": as_text(record.key),
                "value": as_text(value),
                "headers": {name: as_text(content) for name, content in record.headers},
            },
            "replay_metadata": {
                "can_replay": self.error_type is ErrorType.TRANSIENT,
                "suggested_delay_minutes": 0,
                "requires_manual_review": self.error_type is not ErrorType.TRANSIENT,
            },
        }

    def _encode(self, record: ConsumerRecord, why: Unprocessable, value: bytes | None) -> bytes:
        origin = read_origin(record.value)
        own = uuid.uuid5(_NAMESPACE, f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp}")
        now = datetime.now(UTC)
        return wire.encode(
            wire.WireEnvelope(
                id=identity.child(origin.id, EventType.SYSTEM_ERROR) if origin.id else own,
                correlation_id=origin.correlation_id or own,
                causation_id=origin.id,
                trace_id=origin.trace_id or own,
                parent_trace_id=origin.id,
                broker=origin.broker,
                type=EventType.SYSTEM_ERROR,
                ts=now,
                key=as_text(record.key) or "",
                source=SOURCE,
                version=1,
                data=self.data(record, why, value, now),
            )
        )


def as_text(content: bytes | None) -> str | None:
    """UTF-8 as text, everything else in base64."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode()


def read_origin(value: bytes | None) -> Origin:
    """Read what can be read of an envelope that breaks the contract; never raises for what it holds."""
    try:
        found = json.loads(value or b"")
    except (ValueError, RecursionError):
        return Origin()
    if not isinstance(found, dict):
        return Origin()
    broker = found.get("broker")
    return Origin(
        id=_uuid(found.get("id")),
        correlation_id=_uuid(found.get("correlation_id")),
        trace_id=_uuid(found.get("trace_id")),
        # JSON may hold half a surrogate pair, which no UTF-8 can carry.
        broker=broker.encode(errors="replace").decode() if isinstance(broker, str) else "",
    )


def _uuid(value: object) -> uuid.UUID | None:
    try:
        return uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
