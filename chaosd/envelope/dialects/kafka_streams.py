"""Dead letters of Kafka Streams (KIP-1034): the source record's raw key, value and headers, and headers of text."""

from __future__ import annotations

from chaosd.envelope.dialects.letter import DeadLetter, Dialect, Headers, number, text, without

_PREFIX = "__streams.errors."


def _read(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
    told = dict(headers)
    if f"{_PREFIX}topic" not in told:
        return None
    return DeadLetter(
        dialect=dialect.name,
        topic=text(told, f"{_PREFIX}topic"),
        partition=number(told, f"{_PREFIX}partition"),
        offset=number(told, f"{_PREFIX}offset"),
        error_type="",
        error_class=text(told, f"{_PREFIX}exception"),
        error_message=text(told, f"{_PREFIX}message"),
        key=key,
        value=value,
        headers=without(headers, _PREFIX),
        exact=True,
    )


dialect = Dialect("kafka-streams", _read)
