"""The latency of an envelope as an interval: [max(0, e − τ − a), e − s].

s = due on the open-loop schedule, a = acknowledged (handed to the client if never), e = its result first seen, τ = how
long before e the tap may have stalled. A stall of the judge or a late generator widens the interval downwards; it never
makes a latency longer than seen. The upper end counts from the due time, so coordinated omission is not hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaosd.journal.table import Rows
from chaosd.verification.case import NEVER_NS, Case
from chaosd.verification.obligations import resolved, result_ns, sent_ns


@dataclass(frozen=True, slots=True)
class Spans:
    """For each envelope the time in which it was waiting: at most [from_low, until_high], at least [from_high,
    until_low]. `until_*` is NEVER_NS for a result that has not come.
    """

    due_ns: np.ndarray
    accepted_ns: np.ndarray
    until_low_ns: np.ndarray
    until_high_ns: np.ndarray

    @property
    def low_ns(self) -> np.ndarray:
        """The least latency that agrees with what was seen."""
        return np.where(self.until_low_ns >= NEVER_NS, NEVER_NS, np.maximum(0, self.until_low_ns - self.accepted_ns))

    @property
    def high_ns(self) -> np.ndarray:
        """The largest latency that agrees with what was seen."""
        return np.where(self.until_high_ns >= NEVER_NS, NEVER_NS, self.until_high_ns - self.due_ns)

    def __getitem__(self, chosen: np.ndarray) -> Spans:
        return Spans(*(column[chosen] for column in self._columns()))

    def __len__(self) -> int:
        return len(self.due_ns)

    def join(self, other: Spans) -> Spans:
        """These and the others."""
        pairs = zip(self._columns(), other._columns(), strict=True)
        return Spans(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.due_ns, self.accepted_ns, self.until_low_ns, self.until_high_ns


def spans(case: Case, envelopes: Rows) -> Spans:
    """The waiting times of envelopes that owe a result (dtype ENVELOPES)."""
    accepted = np.where(envelopes["acked_ns"] >= 0, envelopes["acked_ns"], sent_ns(envelopes))
    until_high = result_ns(envelopes)
    until_low = np.where(until_high < NEVER_NS, until_high - stalled_ns(case.stalls, until_high), NEVER_NS)
    # The live read missed it, the fresh read has it: it may have come at once, or just before the end.
    late = resolved(envelopes) & (until_high >= NEVER_NS)
    until_low = np.where(late, accepted, until_low)
    return Spans(envelopes["due_ns"].astype(np.int64), accepted, until_low, until_high)


def stalled_ns(stalls: np.ndarray, seen_ns: np.ndarray) -> np.ndarray:
    """τ: how far before `seen_ns` the stall began that it falls into; 0 outside stalls (merged, ascending)."""
    if not len(stalls):
        return np.zeros(len(seen_ns), np.int64)
    index = np.searchsorted(stalls[:, 0], seen_ns, side="right") - 1
    inside = (index >= 0) & (seen_ns <= stalls[index, 1])
    return np.where(inside, seen_ns - stalls[index, 0], 0)
