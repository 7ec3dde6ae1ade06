"""The words of the contract: what an envelope says, what a signal advises, why something failed.

Apart from the models, so that the hot path, which uses their mirror, starts without pydantic.
"""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    """What an envelope says."""

    MARKET_TICK = "market_tick"
    TRADING_SIGNAL = "trading_signal"
    VALIDATED_SIGNAL = "validated_signal"
    REJECTED_SIGNAL = "rejected_signal"
    ORDER_PLACED = "order_placed"
    ORDER_FILLED = "order_filled"
    ORDER_FAILED = "order_failed"
    PNL_SNAPSHOT = "pnl_snapshot"
    SYSTEM_ERROR = "system_error"


class SignalType(StrEnum):
    """What a signal advises."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"


class ErrorType(StrEnum):
    """Why something could not be processed."""

    TRANSIENT = "transient"
    POISON = "poison"
    BUSINESS = "business"
    INFRASTRUCTURE = "infrastructure"
    AUTHENTICATION = "authentication"
    RATE_LIMIT = "rate_limit"
