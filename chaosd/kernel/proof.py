"""What would show that a fault bites, or that it is gone. Data only: the judge evaluates it from the journal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Where the evidence comes from."""

    ROUND_TRIP_MS = "canary.round_trip_ms"  # proxied pings of the part
    RATE_KB_S = "canary.rate_kb_s"  # proxied bulk transfers of the part
    BULK_OUTCOME = "canary.bulk_outcome"  # how proxied bulk transfers of `amount` bytes end
    CLOSE_MS = "canary.close_ms"  # how long a proxied connection that we close takes to be closed by the other side
    OUTCOME = "canary.outcome"  # how proxied probes of the part end
    DIRECT_OUTCOME = "canary.direct_outcome"  # how DIRECT probes of the part end
    SENT_HZ = "generator.sent_hz"  # envelopes sent a second, whatever is `on`
    SENT_POISON = "generator.poison"  # the share of envelopes sent that are spoiled, of the kinds in `words`
    SENT_TWICE = "generator.twice"  # the share of envelopes sent that are sent twice
    PROCESS_START = "process.start"  # the part's process is another one than before
    PROCESS_STATE = "process.state"  # the sampled scheduler state of a process
    GAUGE = "gauge"  # a value that the part's own server tells (`Proof.gauge` names it)


class Relation(StrEnum):
    """How the evidence must compare with `amount` (or with `words`).

    Of a gauge, "before" is the last value that was told before the injection, "settled" are those from a second after
    the heal on. A state that was there before is no proof.
    """

    RISES_BY = "rises_by"  # median in the window ≥ baseline median + amount, and above the baseline's own noise.
    # Gauges: some value in the window ≥ before + amount, and more than it rose in the baseline by itself
    FALLS_BY = "falls_by"  # gauges: the same, downwards
    AT_LEAST = "at_least"  # gauges: to bite, some value in the window, and none just before; to be healed, all settled
    AT_MOST = "at_most"  # gauges: the same, the other way round.
    # Rates: at most amount + 30 %, and at most half of what it was before
    NEAR = "near"  # within ± 30 % of amount
    ABOVE = "above"  # at least twice amount
    MOVES_BY = "moves_by"  # median of the window's last third ≥ that of its first third + amount (≤, if amount < 0)
    ONE_OF = "one_of"  # at least one sample inside the window is one of `words`
    NONE_OF = "none_of"  # no sample after the heal is one of `words`, and at least one is well
    BACK_TO_BASELINE = "back_to_baseline"  # median after the heal within the baseline's noise, or within a quarter of
    # the amount, which is what the fault had added.
    # Gauges: all settled values within the range of the baseline's
    CHANGED = "changed"  # another value than before the injection. Gauges: one that stood still before


@dataclass(frozen=True, slots=True)
class Proof:
    """`source` on `on` must stand in `relation` to `amount`. Times are ms, rates KB/s (1 KB = 1000 B), sizes B.

    `gauge` is the name of a value that the server tells, where the source is GAUGE.
    """

    source: Source
    on: str
    relation: Relation
    amount: float = 0.0
    words: tuple[str, ...] = ()
    stream: str = ""  # upstream | downstream | both, where the direction matters (bulk transfers)
    gauge: str = ""

    @property
    def asked(self) -> str:
        """What is asked for, in words: `rises by 320`, `one of timeout`."""
        told = " or ".join(self.words) if self.words else f"{self.amount:g}" if self.relation in _COMPARED else ""
        return f"{self.relation.replace('_', ' ')} {told}".rstrip()


_COMPARED = (Relation.RISES_BY, Relation.FALLS_BY, Relation.AT_LEAST, Relation.AT_MOST, Relation.NEAR)
