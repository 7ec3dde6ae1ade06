"""Dead letters of Spring for Apache Kafka (`DeadLetterPublishingRecoverer`): the original's bytes, and headers.

Topic, class and message are text; partition is a big-endian int, offset a big-endian long (class KafkaHeaders).
"""

from __future__ import annotations

from collections.abc import Mapping

from chaosd.envelope.dialects.letter import DeadLetter, Dialect, Headers, text, without

_PREFIX = "kafka_dlt-"
_INT_BYTES, _LONG_BYTES = 4, 8


def _read(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
    told = dict(headers)
    if f"{_PREFIX}original-topic" not in told:
        return None
    # The listener's own exception wraps the cause, which is what a person looks for.
    cause = text(told, f"{_PREFIX}exception-cause-fqcn") or text(told, f"{_PREFIX}exception-fqcn")
    return DeadLetter(
        dialect=dialect.name,
        topic=text(told, f"{_PREFIX}original-topic"),
        partition=_binary(told, f"{_PREFIX}original-partition", _INT_BYTES),
        offset=_binary(told, f"{_PREFIX}original-offset", _LONG_BYTES),
        error_type="",
        error_class=cause,
        error_message=text(told, f"{_PREFIX}exception-message"),
        key=key,
        value=value,
        headers=without(headers, _PREFIX),
        exact=True,
    )


def _binary(headers: Mapping[str, bytes], name: str, size: int) -> int:
    raw = headers.get(name) or b""
    return max(int.from_bytes(raw, "big", signed=True), -1) if len(raw) == size else -1


dialect = Dialect("spring", _read)
