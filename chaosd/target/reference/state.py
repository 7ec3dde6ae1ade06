"""Position and risk by symbol, as PostgreSQL holds them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

EXPOSURE_LIMIT = Decimal(10_000_000_000)


@dataclass(frozen=True, slots=True)
class RiskState:
    """What is known of one symbol: traded `volume`, `notional` = sum of price * volume, and the number of ticks."""

    symbol: str
    volume: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)
    ticks: int = 0

    @property
    def over_limit(self) -> bool:
        """Whether the exposure is past the limit that a person should look at."""
        return self.notional > EXPOSURE_LIMIT


class RiskStateManager:
    """The latest totals by symbol.

    The totals themselves live in PostgreSQL, where they change in the same statement that records a tick for the first
    time; this is the pipeline's view of them, refreshed by every such statement.
    """

    def __init__(self) -> None:
        self._states: dict[str, RiskState] = {}

    def get_state(self, symbol: str) -> RiskState:
        """The state of `symbol`; an empty one when nothing is known of it yet."""
        return self._states.get(symbol) or RiskState(symbol)

    def update_position(self, symbol: str, volume: Decimal, notional: Decimal, ticks: int) -> RiskState:
        """Take over new totals. Totals never go back: an older answer that arrives late is ignored."""
        known = self.get_state(symbol)
        if ticks < known.ticks:
            return known
        self._states[symbol] = RiskState(symbol, volume, notional, ticks)
        return self._states[symbol]
