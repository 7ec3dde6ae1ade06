"""The `chaosd` dialect: a SYSTEM_ERROR envelope whose data say where the record was and what was wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from chaosd.envelope import wire
from chaosd.envelope.dialects.letter import DeadLetter, Dialect, Headers


class _Metadata(msgspec.Struct):
    original_topic: str = ""
    original_partition: int = -1
    original_offset: int = -1


class _Failure(msgspec.Struct):
    error_type: str = ""
    error_class: str = ""
    error_message: str = ""


class _Original(msgspec.Struct):
    key: str | None = None
    value: str | None = None
    headers: dict[str, str | None] = {}


class _Replay(msgspec.Struct):
    can_replay: bool = True


class _Data(msgspec.Struct):
    """What is left out does not make a letter unreadable: its other parts may say which envelope it is about."""

    dlq_metadata: _Metadata
    failure_info: _Failure
    original_message: _Original
    replay_metadata: _Replay = msgspec.field(default_factory=_Replay)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was read: its envelope, the coordinates it claims, the error it names, what it carries.

    What it does not say is "" or -1, which is right nowhere.
    """

    envelope: wire.WireEnvelope
    topic: str
    partition: int
    offset: int
    error_type: str
    error_class: str
    error_message: str
    key: str | None
    value: str | None
    headers: dict[str, str | None]
    can_replay: bool


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
        data.failure_info.error_class,
        data.failure_info.error_message,
        what.key,
        what.value,
        what.headers,
        data.replay_metadata.can_replay,
    )


def _letter(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
    found = read(value or b"")
    if found is None:
        return None
    return DeadLetter(
        dialect=dialect.name,
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        error_type=found.error_type,
        error_class=found.error_class,
        error_message=found.error_message,
        key=_bytes(found.key),
        value=_bytes(found.value),
        headers=tuple((name, _bytes(text) or b"") for name, text in found.headers.items()),
        # Text that was base64 of something else looks like any other text.
        exact=False,
        may_replay=found.can_replay,
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


dialect = Dialect("chaosd", _letter)
