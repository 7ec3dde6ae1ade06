"""What this pipeline accepts: a market tick with Decimal money and a time with its offset. All else is poison."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from aiokafka import ConsumerRecord

from chaosd.envelope import wire
from chaosd.envelope.kinds import EventType
from chaosd.envelope.poison import MAX_ENVELOPE_BYTES

_VOLUME_MAX = 2**63 - 1  # bigint


class TickData(msgspec.Struct, frozen=True):
    """The data of a market tick. `price` is text, so that no digit is lost; `exchange_ts` is kept as it was written."""

    symbol: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    price: Annotated[str, msgspec.Meta(pattern=r"^\d{1,18}(\.\d{1,12})?$")]
    volume: Annotated[int, msgspec.Meta(ge=0, le=_VOLUME_MAX)]
    exchange_ts: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A market tick that keeps the contract."""

    envelope: wire.WireEnvelope
    data: TickData
    price: Decimal

    @property
    def id(self) -> UUID:
        """The id of its envelope."""
        return self.envelope.id


@dataclass(frozen=True, slots=True)
class Unprocessable:
    """Why a record cannot be processed, now or later."""

    error_class: str
    message: str
    reason: str


def read_tick(record: ConsumerRecord) -> Tick | Unprocessable:
    """Check a record against the contract. Never raises for what a record holds."""
    value = record.value
    if value is None:
        return Unprocessable("EmptyRecord", "the record has no value", "not an envelope")
    if len(value) > MAX_ENVELOPE_BYTES:
        return Unprocessable(
            "OversizedEnvelope", f"{len(value)} bytes; at most {MAX_ENVELOPE_BYTES} are accepted", "oversized"
        )
    try:
        envelope = wire.decode(value)
        if envelope.type != EventType.MARKET_TICK:
            return Unprocessable(
                "UnexpectedType", f"type {envelope.type} is not for this pipeline", "not a market tick"
            )
        data = msgspec.convert(envelope.data, TickData)
        if datetime.fromisoformat(data.exchange_ts).utcoffset() is None:
            return Unprocessable(
                "ValidationError", "exchange_ts has no offset from UTC", "the data breaks the contract"
            )
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors; deep nesting exhausts its stack
        return Unprocessable(type(error).__name__, str(error)[:500], "the record breaks the contract")
    return Tick(envelope, data, Decimal(data.price))
