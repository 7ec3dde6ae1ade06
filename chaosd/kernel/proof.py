"""What would show that a fault bites, or that it is gone. Data only: the judge evaluates it from the journal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Where the evidence comes from."""

    ROUND_TRIP_MS = "canary.round_trip_ms"  # proxied pings of the part
    RATE_KB_S = "canary.rate_kb_s"  # proxied bulk transfers of the part
    OUTCOME = "canary.outcome"  # how proxied probes of the part end
    DIRECT_OUTCOME = "canary.direct_outcome"  # how DIRECT probes of the part end
    PROCESS_START = "process.start"  # the part's process is another one than before
    PROCESS_STATE = "process.state"  # the sampled scheduler state of a process


class Relation(StrEnum):
    """How the evidence must compare with `amount` (or with `words`)."""

    RISES_BY = "rises_by"  # median in the window ≥ baseline median + amount, and above the baseline's own noise
    NEAR = "near"  # within ± 30 % of amount
    ONE_OF = "one_of"  # at least one sample inside the window is one of `words`
    NONE_OF = "none_of"  # no sample after the heal is one of `words`, and at least one is well
    BACK_TO_BASELINE = "back_to_baseline"  # median after the heal within the baseline's noise
    CHANGED = "changed"  # another value than before the injection


@dataclass(frozen=True, slots=True)
class Proof:
    """`source` on `on` must stand in `relation` to `amount`. Times are ms, rates KB/s (1 KB = 1000 B)."""

    source: Source
    on: str
    relation: Relation
    amount: float = 0.0
    words: tuple[str, ...] = ()
    stream: str = ""  # upstream | downstream | both, where the direction matters (bulk transfers)
