"""A robust trend over stretches of time: how fast something grows, with a confidence interval.

The slope is Theil and Sen's, the median of the slopes of all pairs, and only pairs inside one stretch count (Hirsch,
Slack, Smith 1982): a jump between two stretches, such as what a pipeline keeps after an outage, is no growth. The
interval is Sen's (1968): the slopes at the ranks (N ± z·√V) / 2, with V the sum of n(n - 1)(2n + 5) / 18 over the
stretches, Kendall's variance. Neither outliers nor the shape of the noise matter; samples that depend on one another
make it too narrow, which is why callers ask for more than "above zero".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chaosd.kernel.clock import SECOND

# 99 %, two-sided.
_Z = 2.576
# More samples a stretch add nothing but pairs.
_SAMPLES = 300


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth per second: the median slope and its interval. `level` is the median value, `seconds` the time covered."""

    slope: float
    low: float
    high: float
    level: float
    seconds: float
    samples: int


def trend(stretches: Sequence[tuple[np.ndarray, np.ndarray]]) -> Trend | None:
    """The trend of (times in ns, values) of each stretch, times ascending; None where no two samples are in one."""
    thin = [_thinned(times, values) for times, values in stretches if len(times) > 1]
    if not thin:
        return None
    slopes = np.sort(np.concatenate([_slopes(times, values) for times, values in thin]))
    if not len(slopes):
        return None
    variance = sum(len(t) * (len(t) - 1) * (2 * len(t) + 5) / 18 for t, _ in thin)
    reach = _Z * math.sqrt(variance)
    low = max(0, math.floor((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return Trend(
        slope=float(np.median(slopes)),
        low=float(slopes[low]),
        high=float(slopes[high]),
        level=float(np.median(np.concatenate([values for _, values in thin]))),
        seconds=sum(float(times[-1] - times[0]) for times, _ in thin) / SECOND,
        samples=sum(len(times) for times, _ in thin),
    )


def _thinned(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    step = -(-len(times) // _SAMPLES)
    return times[::step], values[::step].astype(float)


def _slopes(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(len(times), 1)
    apart = (times[second] - times[first]) / SECOND
    kept = apart > 0
    return np.asarray((values[second] - values[first])[kept] / apart[kept])
