"""What the pipeline does when nothing is broken, and the threshold that follows from it.

θ = max(2·p99.9, p99.9 + 250 ms), for outputs and for dead letters each, capped only by `recovery.threshold`. The lower
ends of the latencies give the lowest θ that agrees with what was seen, the upper ends the highest. PASS is tested with
the lower θ against the upper ends, FAIL with the higher θ against the lower ends, so that the truth is between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from chaosd.kernel.clock import MS
from chaosd.verification.latency import Spans

KINDS = ("output", "dlq")
_ENOUGH = 30
# Below this many the 99.9th percentile is the maximum.
_FOR_P999 = 1_000
_MARGIN_NS = 250 * MS
_HALVES_DIFFER_NS = 20 * MS
_HALVES_DIFFER = 0.5


@dataclass(frozen=True, slots=True)
class Baseline:
    """Latencies of one kind of result, ns. `pooled`: too few of its own kind, so those of all kinds."""

    n: int
    p50_low_ns: int
    p50_high_ns: int
    p999_low_ns: int
    p999_high_ns: int
    pooled: bool = False
    stable: bool = True

    def thresholds_ns(self, cap_ns: int | None) -> tuple[int, int]:
        """(lower, higher) θ."""
        low, high = (max(2 * p999, p999 + _MARGIN_NS) for p999 in (self.p999_low_ns, self.p999_high_ns))
        return (low, high) if cap_ns is None else (min(low, cap_ns), min(high, cap_ns))


def measure(kinds: dict[str, Spans]) -> dict[str, Baseline] | None:
    """The baseline of each kind from the envelopes due in it, in any order; None if there are too few in all.

    A kind with fewer than 30 results (poison at low rates) takes the latencies of all kinds together.
    """
    if sum(len(spans) for spans in kinds.values()) < _ENOUGH:
        return None
    measured = {name: _measure(spans) for name, spans in kinds.items() if len(spans) >= _ENOUGH}
    if len(measured) < len(kinds):
        alone = len(measured) == 1 and not all(len(spans) for spans in kinds.values())
        pooled = next(iter(measured.values())) if alone else _measure(kinds["output"].join(kinds["dlq"]))
        measured = {name: measured.get(name, replace(pooled, pooled=True)) for name in kinds}
    return measured


def reused(known: dict[str, dict[str, int]], seen: dict[str, Baseline] | None) -> dict[str, Baseline]:
    """A baseline that another run on the same testbed measured, held against what this run has `seen` of its own.

    Where the medians do not agree, or nothing was seen, the old one is no longer true: unstable.
    """
    measured = {kind: _read(known[kind]) for kind in KINDS if kind in known}
    only = next(iter(measured.values()))
    whole = {kind: measured.get(kind, only) for kind in KINDS}
    return {kind: replace(one, stable=seen is not None and _same(one, seen[kind])) for kind, one in whole.items()}


def _same(one: Baseline, seen: Baseline) -> bool:
    return _agree(one.p50_low_ns, seen.p50_low_ns)


def _read(known: dict[str, int]) -> Baseline:
    return Baseline(
        n=int(known["n"]),
        p50_low_ns=int(known["p50_low_ns"]),
        p50_high_ns=int(known["p50_high_ns"]),
        p999_low_ns=int(known["p999_low_ns"]),
        p999_high_ns=int(known["p999_high_ns"]),
    )


def _measure(spans: Spans) -> Baseline:
    low, high = spans.low_ns, spans.high_ns
    half = len(low) // 2
    first = spans.due_ns < np.partition(spans.due_ns, half)[half]
    return Baseline(
        n=len(low),
        p50_low_ns=percentile(low, 50),
        p50_high_ns=percentile(high, 50),
        p999_low_ns=percentile(low, 99.9),
        p999_high_ns=percentile(high, 99.9),
        stable=_agree(percentile(low[first], 50), percentile(low[~first], 50)),
    )


def percentile(values: np.ndarray, percent: float) -> int:
    """The smallest value that `percent` of the values do not exceed; for rare tails of few values the maximum."""
    if percent > 99 and len(values) < _FOR_P999:
        return int(values.max())
    # 99.9 % of 1,000 is 999, whatever binary fractions make of it.
    rank = int(np.ceil(round(percent / 100 * len(values), 6))) - 1
    return int(np.partition(values, rank)[rank])


def _agree(first_ns: int, second_ns: int) -> bool:
    apart = abs(first_ns - second_ns)
    return apart <= _HALVES_DIFFER_NS or apart <= _HALVES_DIFFER * max(first_ns, second_ns)
