"""Dead letters of Kafka Connect with `errors.deadletterqueue.context.headers.enable=true` (KIP-298).

Key, value and headers are the original's; what went wrong is in headers, all of them text.
"""

from __future__ import annotations

from chaosd.envelope.dialects.letter import DeadLetter, Dialect, Headers, number, text, without

_PREFIX = "__connect.errors."


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
        error_class=text(told, f"{_PREFIX}exception.class.name"),
        error_message=text(told, f"{_PREFIX}exception.message"),
        key=key,
        value=value,
        headers=without(headers, _PREFIX),
        exact=True,
    )


dialect = Dialect("kafka-connect", _read)
