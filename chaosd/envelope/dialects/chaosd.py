"""The `chaosd` dialect: a SYSTEM_ERROR envelope whose data say where the record was and what was wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from chaosd.envelope import wire


class _Metadata(msgspec.Struct):
    original_topic: str
    original_partition: int
    original_offset: int


class _Failure(msgspec.Struct):
    error_type: str


class _Original(msgspec.Struct):
    key: str | None
    value: str | None
    headers: dict[str, str | None]


class _Data(msgspec.Struct):
    dlq_metadata: _Metadata
    failure_info: _Failure
    original_message: _Original


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was read: its envelope, the coordinates it claims, the error it names, what it carries."""

    envelope: wire.WireEnvelope
    topic: str
    partition: int
    offset: int
    error_type: str
    key: str | None
    value: str | None
    headers: dict[str, str | None]


def read(value: bytes) -> Letter | None:
    """Read a dead letter; None when it is not one of this dialect."""
    try:
        envelope = wire.decode(value)
        data = msgspec.convert(envelope.data, _Data)
    except ValueError:
        return None
    where, what = data.dlq_metadata, data.original_message
    return Letter(
        envelope,
        where.original_topic,
        where.original_partition,
        where.original_offset,
        data.failure_info.error_type,
        what.key,
        what.value,
        what.headers,
    )
