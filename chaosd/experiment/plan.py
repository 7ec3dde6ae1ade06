"""Segment → envelopes: the seeded plan of a run's traffic, one value with three uses.

The conductor commands the generator and the tap with Segments, writes them to the journal as facts, and History expands
them again for envelopes without a row. Everything about envelope k follows from (seed, k) alone, so it does not depend
on how the run was cut into segments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaosd.envelope.poison import KINDS

# One row per planned envelope. `kind` 0 = an ordinary envelope, else 1 + the index in `envelope.poison.KINDS`.
# `twice` 1 = the same record is sent a second time, right after the first.
PLANNED = np.dtype([("stream", "u2"), ("seq", "u4"), ("due_ns", "i8"), ("kind", "u1"), ("twice", "u1")])
# Whether an envelope is sent twice has its own chance, apart from whether it is spoiled.
TWICE = 0x7477696365

_MASK_64 = (1 << 64) - 1
_GOLDEN, _MIX_A, _MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` envelopes at a fixed interval, open loop.

    Envelope number j of it has the global index k = first + j, stream k % streams, seq k // streams, and is due at
    start_ns + j * interval_ns. `phase` is one of warmup, burst, baseline, faults, tail, fence. `poison` gives the share
    of each kind, `duplicates` the share of ordinary envelopes that are sent twice. A spoiled one never is: what cannot
    be read has no identity by which a pipeline could know it again.
    """

    index: int
    phase: str
    first: int
    count: int
    start_ns: int
    interval_ns: int
    streams: int
    poison: tuple[tuple[str, float], ...] = ()
    duplicates: float = 0.0


def expand(segment: Segment, seed: int) -> np.ndarray:
    """All envelopes of a segment, in order of their due times; dtype PLANNED."""
    k = np.arange(segment.first, segment.first + segment.count, dtype=np.int64)
    rows = np.zeros(segment.count, dtype=PLANNED)
    rows["stream"] = k % segment.streams
    rows["seq"] = k // segment.streams
    rows["due_ns"] = segment.start_ns + (k - segment.first) * segment.interval_ns
    rows["kind"] = _kinds(_chances(seed, k), segment.poison)
    if segment.duplicates:
        rows["twice"] = (_shares(_chances(seed ^ TWICE, k)) < segment.duplicates) & (rows["kind"] == 0)
    return rows


def global_index(stream: int, seq: int, streams: int) -> int:
    """The global index k of the envelope (stream, seq)."""
    return seq * streams + stream


def kind_of(seed: int, k: int, poison: tuple[tuple[str, float], ...]) -> int:
    """The kind of envelope k, as `expand` gives it."""
    if not poison:
        return 0
    left = (chance(seed, k) >> 11) / float(1 << 53)
    for kind, share in poison:
        left -= share
        if left < 0:
            return 1 + KINDS.index(kind)
    return 0


def chance(seed: int, k: int) -> int:
    """64 random bits for envelope k: splitmix64 as a counter-based generator (Steele, Lea, Flood 2014)."""
    mixed = (seed * _MIX_B + (k + 1) * _GOLDEN) & _MASK_64
    mixed = ((mixed ^ (mixed >> 30)) * _MIX_A) & _MASK_64
    mixed = ((mixed ^ (mixed >> 27)) * _MIX_B) & _MASK_64
    return mixed ^ (mixed >> 31)


def _chances(seed: int, k: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        mixed = np.uint64(seed * _MIX_B & _MASK_64) + (k.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX_A)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX_B)
    return mixed ^ (mixed >> np.uint64(31))


def _shares(chances: np.ndarray) -> np.ndarray:
    """64 random bits as numbers in [0, 1)."""
    return np.asarray((chances >> np.uint64(11)).astype(np.float64) / float(1 << 53))


def _kinds(chances: np.ndarray, poison: tuple[tuple[str, float], ...]) -> np.ndarray:
    kinds = np.zeros(len(chances), dtype=np.uint8)
    left = _shares(chances)
    undecided = np.ones(len(chances), dtype=bool)
    for kind, share in poison:
        # The same subtractions in the same order as kind_of: floating point must not tell them apart.
        left = left - share
        hit = undecided & (left < 0)
        kinds[hit] = 1 + KINDS.index(kind)
        undecided &= ~hit
    return kinds
