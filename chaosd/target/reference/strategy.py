"""What the pipeline says about a tick: one validated signal."""

from __future__ import annotations

from datetime import UTC, datetime

from chaosd.envelope import identity, wire
from chaosd.envelope.kinds import EventType, SignalType
from chaosd.target.reference.contract import Tick

SOURCE = "reference"
# Anybody can recompute it from the tick alone: this pipeline is judged, so its answers must be predictable.
_SIGNALS = (SignalType.BUY, SignalType.SELL, SignalType.HOLD)


def signal_of(tick: Tick) -> SignalType:
    """The signal for a tick: it follows from the volume."""
    return _SIGNALS[tick.data.volume % len(_SIGNALS)]


def answer(tick: Tick) -> bytes:
    """The envelope of the validated signal: a child of the tick, with an id that is the same however often it is made.

    Money stays Decimal; the exchange's time is copied as it was written.
    """
    given = tick.envelope
    return wire.encode(
        wire.WireEnvelope(
            id=identity.child(given.id, EventType.VALIDATED_SIGNAL),
            correlation_id=given.correlation_id,
            causation_id=given.id,
            trace_id=given.trace_id,
            parent_trace_id=given.id,
            broker=given.broker,
            type=EventType.VALIDATED_SIGNAL,
            ts=datetime.now(UTC),
            key=given.key,
            source=SOURCE,
            version=given.version,
            data={
                "symbol": tick.data.symbol,
                "price": tick.data.price,
                "volume": tick.data.volume,
                "exchange_ts": tick.data.exchange_ts,
                "signal": signal_of(tick),
                "notional": format(tick.price * tick.data.volume, "f"),
            },
        )
    )
