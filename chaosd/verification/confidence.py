"""How likely a pipeline recovers in time, from repeated runs: an anytime-valid confidence sequence for a proportion.

For every p the beta-binomial mixture

    M_n(p) = B(a + s, b + f) / (B(a, b) · p^s · (1 − p)^f)

is a martingale with M_0 = 1 if each run succeeds with probability p (s successes, f failures in n runs; a = b = 1/2).
By Ville's inequality it ever reaches 1 / (1 - level) with probability at most 1 - level. So the set of all p for which
it has not contains the truth at all times at once with probability `level`, and one may look after each run and go on
or stop as one likes. The intersection of all sets so far holds just as well. Sources: Robbins, Statistical methods
related to the law of the iterated logarithm, 1970; Howard, Ramdas, McAuliffe, Sekhon, Time-uniform, nonparametric,
nonasymptotic confidence sequences, 2021.

A run that tells nothing (None) is counted both ways: as a failure for the lower end, as a success for the upper end.
Both ends are monotone in the counts, so whatever those runs would have told, the truth stays inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

LEVEL = 0.95
_A = _B = 0.5
_STEPS = 50
_DIGITS = 10_000


@dataclass(frozen=True, slots=True)
class Confidence:
    """What the runs so far say of the probability of success: it is in [low, high] at `LEVEL`."""

    successes: int
    failures: int
    unknown: int
    low: float
    high: float

    @property
    def runs(self) -> int:
        """All of them."""
        return self.successes + self.failures + self.unknown


def confidence(outcomes: Iterable[bool | None], level: float = LEVEL) -> Confidence:
    """The intersection of the sequence's sets over all runs so far, in the order in which they were made."""
    told: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    low, high = 0.0, 1.0
    for outcome in outcomes:
        told[outcome] += 1
        low = max(low, _bounds(told[True], told[False] + told[None], level)[0])
        high = min(high, _bounds(told[True] + told[None], told[False], level)[1])
    # Rounded outwards: the interval that is shown still holds.
    low, high = math.floor(low * _DIGITS) / _DIGITS, math.ceil(high * _DIGITS) / _DIGITS
    return Confidence(told[True], told[False], told[None], low, high)


@cache
def _bounds(successes: int, failures: int, level: float) -> tuple[float, float]:
    """Where the martingale reaches 1 / (1 − level), on both sides of the observed share."""
    if not successes + failures:
        return 0.0, 1.0
    share = successes / (successes + failures)
    mixture = _log_beta(_A + successes, _B + failures) - _log_beta(_A, _B)
    limit = -math.log(1 - level)

    def excluded(p: float) -> bool:
        likelihood = (successes * math.log(p) if successes else 0.0) + (failures * math.log1p(-p) if failures else 0.0)
        return mixture - likelihood >= limit

    return (_edge(excluded, 0.0, share) if successes else 0.0, _edge(excluded, 1.0, share) if failures else 1.0)


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Halve the way between an excluded p and one that is not; gives the excluded one, which is outside."""
    for _ in range(_STEPS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
