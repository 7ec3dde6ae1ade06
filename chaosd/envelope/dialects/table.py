"""All dialects of dead letters, one line each."""

from __future__ import annotations

from collections.abc import Mapping

from chaosd.envelope.dialects import chaosd, kafka_connect, kafka_streams, spring
from chaosd.envelope.dialects.letter import DeadLetter, Dialect, Headers

# Those that are told by their headers come first: any of them may carry an envelope of chaosd's own.
DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (kafka_connect.dialect, kafka_streams.dialect, spring.dialect, chaosd.dialect)
}


def read(key: bytes | None, value: bytes | None, headers: Headers, name: str = "") -> DeadLetter | None:
    """Read a record of a DLQ in the dialect `name`, or in the first that it speaks; None when it speaks none."""
    chosen = [DIALECTS[name]] if name else DIALECTS.values()
    return next((letter for dialect in chosen if (letter := dialect.read(key, value, headers))), None)
