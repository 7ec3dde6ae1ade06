"""The age of the oldest waiting envelope, A(u) = u − min{ s_i ≤ u : i is unresolved at u }, exactly.

With the envelopes in order of their start, only those whose end is later than all ends before ("records") can be the
oldest waiting one: between the end of the record before and its own end, record r is it, and the age is u − s_r. So the
curve is a list of records; nothing is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Age:
    """Records in order of time: from `since_ns` (the record before ended) to `until_ns` the oldest start is
    `start_ns`; before `start_ns` nothing waits. `index` names the envelope in the arrays the curve was built from.
    """

    start_ns: np.ndarray
    since_ns: np.ndarray
    until_ns: np.ndarray
    index: np.ndarray

    def at(self, times_ns: np.ndarray) -> np.ndarray:
        """A(u) for each time; 0 where nothing waits."""
        which = np.searchsorted(self.until_ns, times_ns, side="right")
        if not len(self.start_ns):
            return np.zeros(len(which), np.int64)
        starts = self.start_ns[np.minimum(which, len(self.start_ns) - 1)]
        waits = (which < len(self.start_ns)) & (starts <= times_ns)
        return np.where(waits, times_ns - np.minimum(starts, times_ns), 0)

    def above(self, threshold_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """(from, until) of the spans in which A > threshold, ascending and disjoint."""
        starts = np.maximum(self.since_ns, self.start_ns + threshold_ns)
        kept = starts < self.until_ns
        return starts[kept], self.until_ns[kept]

    def excess_ns_s(self, threshold_ns: int, from_ns: int, until_ns: int) -> float:
        """∫ max(0, A − threshold) over [from, until], in nanosecond-seconds."""
        starts = np.maximum(np.maximum(self.since_ns, self.start_ns + threshold_ns), from_ns)
        ends = np.minimum(self.until_ns, until_ns)
        kept = starts < ends
        base = (self.start_ns[kept] + threshold_ns).astype(float)
        low, high = starts[kept] - base, ends[kept] - base
        return float(np.sum((high * high - low * low) / 2) / 1e9)

    def curve(self, from_ns: int, until_ns: int, points: int) -> tuple[np.ndarray, np.ndarray]:
        """(times, ages) for a picture: the highest age of each of `points` equal slices, at the slice's start."""
        edges = np.linspace(from_ns, until_ns, points + 1).astype(np.int64)
        highest = np.maximum(self.at(edges[:-1]), self.at(edges[1:] - 1))
        # Between two edges the age peaks just before a record ends.
        bounds = np.searchsorted(self.until_ns, edges, side="right")
        own = bounds[:-1] < bounds[1:]
        if own.any():
            peaks = self.until_ns[: bounds[-1]] - 1 - self.start_ns[: bounds[-1]]
            highest[own] = np.maximum(highest[own], np.maximum.reduceat(peaks, bounds[:-1][own]))
        return edges[:-1], highest


def age(start_ns: np.ndarray, until_ns: np.ndarray) -> Age:
    """The curve of envelopes that wait from `start_ns` to `until_ns` (those with until ≤ start never wait)."""
    order = np.argsort(start_ns, kind="stable")
    starts, ends = start_ns[order], until_ns[order]
    order, starts, ends = _kept(ends > starts, order, starts, ends)
    if not len(starts):
        none = np.zeros(0, np.int64)
        return Age(none, none, none, none)
    latest = np.maximum.accumulate(ends)
    record = np.concatenate(([True], ends[1:] > latest[:-1]))
    order, starts, ends = _kept(record, order, starts, ends)
    return Age(starts, np.concatenate(([np.iinfo(np.int64).min], ends[:-1])), ends, order)


def _kept(mask: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Most often it is all of them, and nothing is to be copied."""
    return columns if mask.all() else tuple(column[mask] for column in columns)


def clean_from(
    blocks_from_ns: np.ndarray, blocks_until_ns: np.ndarray, earliest_ns: int, for_ns: int, end_ns: int
) -> int | None:
    """The least t ≥ `earliest_ns` such that no block touches [t, t + for_ns] and t + for_ns ≤ `end_ns`.

    A block is a span above the threshold, or the due time of an envelope that is not resolved in time (from = until).
    """
    order = np.argsort(blocks_from_ns, kind="stable")
    starts, ends = blocks_from_ns[order], np.maximum.accumulate(blocks_until_ns[order]) if len(order) else order
    candidates = np.concatenate(([earliest_ns], np.maximum(ends, earliest_ns)))
    following = np.concatenate((starts, [np.iinfo(np.int64).max]))
    # A block that lies wholly before the earliest time bounds nothing.
    following = np.where(following < earliest_ns, earliest_ns, following)
    fits = (following - candidates >= for_ns) & (candidates <= end_ns - for_ns)
    found = np.flatnonzero(fits)
    return int(candidates[found[0]]) if len(found) else None
