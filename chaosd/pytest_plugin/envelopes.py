"""`chaos_envelopes`: envelopes as chaosd sends them, good and spoiled; the same ones for the same --chaos-seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from chaosd.envelope import poison
from chaosd.envelope.kinds import EventType
from chaosd.envelope.model import EventEnvelope
from chaosd.kernel.clock import Clock, SystemClock

KINDS = poison.KINDS


class ChaosEnvelopes:
    """Makes envelopes. `kinds` are the ways to spoil one."""

    kinds = KINDS

    def __init__(self, seed: int, clock: Clock | None = None) -> None:
        self._random = random.Random(seed)
        self._clock = clock or SystemClock()
        self._spoiled = 0

    def make(self, kind: EventType | str = EventType.MARKET_TICK, data: dict[str, Any] | None = None) -> EventEnvelope:
        """The first envelope of a trace: its own correlation, no cause."""
        own = self._id()
        return EventEnvelope(
            id=own,
            correlation_id=own,
            trace_id=self._id(),
            broker="test",
            type=EventType(kind),
            ts=datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000 / 1000, UTC),
            key=str((data or {}).get("symbol", "ACME")),
            source="chaos_envelopes",
            data=data or {},
        )

    def tick(self, symbol: str = "ACME", price: Decimal | str = "101.50", volume: int = 7) -> EventEnvelope:
        """A market tick that the reference pipeline takes."""
        moment = datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000 / 1000, UTC).isoformat()
        data = {"symbol": symbol, "price": str(price), "volume": volume, "exchange_ts": moment}
        return self.make(EventType.MARKET_TICK, data)

    def ticks(self, count: int, symbols: int = 4) -> Iterator[EventEnvelope]:
        """Ticks of several symbols in turn, each with its own price."""
        for number in range(count):
            price = Decimal(self._random.randrange(1_000, 1_000_000)) / 100
            yield self.tick(f"SYM{number % symbols}", price, self._random.randrange(1, 1000))

    def child(self, parent: EventEnvelope, kind: EventType | str, data: dict[str, Any] | None = None) -> EventEnvelope:
        """What follows from another one: the same correlation and trace, caused by it."""
        made = self.make(kind, data or dict(parent.data))
        return made.model_copy(
            update={
                "correlation_id": parent.correlation_id,
                "trace_id": parent.trace_id,
                "causation_id": parent.id,
                "parent_trace_id": parent.id,
                "key": parent.key,
            }
        )

    def wire(self, envelope: EventEnvelope) -> bytes:
        """The bytes that travel."""
        return envelope.model_dump_json().encode()

    def poison(self, kind: str, envelope: EventEnvelope | None = None) -> bytes:
        """The bytes of a spoiled envelope, each time others. Raises UsageError for an unknown kind."""
        self._spoiled += 1
        return poison.spoil(kind, self.wire(envelope or self.tick()), self._spoiled)

    def _id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)
