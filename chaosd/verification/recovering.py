"""The recovery time of one episode as an interval, and its verdict.

t* = the least t ≥ clear with A ≤ θ on [t, t + H] and every envelope due in it sent, accepted and resolved within θ.
R ∈ [t*_low − C_hi, t*_high − C_lo], floored at 0. The low view takes everything that is not known for well, the high
view for bad; PASS needs the high one within the limit, FAIL the low one beyond it, also by a clock that stands still
while a part itself is slow, until θ after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaosd.journal.model import RunFacts
from chaosd.journal.table import Table
from chaosd.kernel.clock import MS
from chaosd.kernel.verdict import Grade
from chaosd.verification.age import clean_from
from chaosd.verification.baseline import Baseline
from chaosd.verification.case import NEVER_NS, Case
from chaosd.verification.episodes import Episode
from chaosd.verification.halts import Halts
from chaosd.verification.waiting import Waiting, high_age, high_longer, low_age, low_longer, oldest_at

# What is worth naming as the reason for a wide interval.
_WORTH_NAMING_NS = 50 * MS


@dataclass(frozen=True, slots=True)
class View:
    """What blocks a recovery: spans [from, until] in which a window of calm must not lie."""

    from_ns: np.ndarray
    until_ns: np.ndarray


@dataclass(frozen=True, slots=True)
class Recovery:
    """R ∈ [low_ns, high_ns] (None = unbounded), with the verdict and what was in its way. `culprit` is the row of the
    oldest envelope still waiting at the limit, -1 if none.
    """

    episode: Episode
    low_ns: int
    high_ns: int | None
    grade: Grade
    reasons: tuple[str, ...]
    culprit: int = -1


def views(
    kinds: dict[str, Table],
    unaccepted: np.ndarray,
    baselines: dict[str, Baseline],
    *,
    cap_ns: int | None,
    looked_ns: int,
) -> tuple[View, View]:
    """(low, high) over the whole run, of all kinds of results (rows of WAITING by kind) together."""
    low: list[tuple[np.ndarray, np.ndarray]] = []
    high: list[tuple[np.ndarray, np.ndarray]] = [(unaccepted, unaccepted)]
    for kind, rows in kinds.items():
        lower, higher = baselines[kind].thresholds_ns(cap_ns)
        late, old = low_longer(rows, higher), high_longer(rows, lower)
        slow = late["accepted_ns"][late["until_low_ns"] < NEVER_NS]
        low += [low_age(late, looked_ns).above(higher), (slow, slow)]
        high += [high_age(old).above(lower), (old["due_ns"], old["due_ns"])]
    return _view(low), _view(high)


def judge_episode(
    case: Case, episode: Episode, low: View, high: View, *, known: Waiting, ends_ns: tuple[int, int], threshold_ns: int
) -> Recovery:
    """Judge one episode. `ends_ns` = (end of the traffic, end of looking), `threshold_ns` the lower θ of all kinds."""
    run = case.run
    traffic_ns, looked_ns = ends_ns
    zero_low, zero_high = episode.zero_low_ns, episode.zero_high_ns
    low_ns = _least(run, low, zero_low, zero_high, looked_ns)
    t_high = clean_from(high.from_ns, high.until_ns, zero_low, run.hold_ns, min(traffic_ns, looked_ns - threshold_ns))
    high_ns = None if t_high is None else max(0, t_high - zero_low)
    culprit = -1
    if low_ns > run.limit_ns:
        # A threshold above a quarter of the limit decides nothing anyway, and may be without end.
        after_ns = min(threshold_ns, run.limit_ns // 4)
        clock = Halts(case.slow_spans(after_ns))
        times_ns = clock.at(np.array([zero_low, zero_high, looked_ns])).tolist()
        if _least(run, View(*clock.blocks(low.from_ns, low.until_ns, after_ns)), *times_ns) <= run.limit_ns:
            judged_ns = clock.after(zero_high, run.limit_ns + run.hold_ns) + after_ns
            blamed = case.blamed(zero_low - after_ns, judged_ns)
            return Recovery(episode, low_ns, high_ns, Grade.INCONCLUSIVE, blamed or ("not_decided",), culprit)
        reasons = ("not_recovered" if high_ns is None else "too_slow",)
        return Recovery(episode, low_ns, high_ns, Grade.FAIL, reasons, _culprit(case, known, zero_high, looked_ns))
    short = traffic_ns < zero_high + run.limit_ns + run.hold_ns + threshold_ns
    if high_ns is not None and high_ns <= run.limit_ns and not short:
        return Recovery(episode, low_ns, high_ns, Grade.PASS, (), culprit)
    reasons = (*(("too_short",) if short else ()), *_widened(case, known, episode))
    return Recovery(episode, low_ns, high_ns, Grade.INCONCLUSIVE, reasons or ("not_decided",), culprit)


def _least(run: RunFacts, low: View, zero_low_ns: int, zero_high_ns: int, looked_ns: int) -> int:
    """The least recovery time that agrees with what blocks for certain, ns."""
    calm_ns = clean_from(low.from_ns, low.until_ns, zero_low_ns, run.hold_ns, 2 * NEVER_NS)
    return max(0, (looked_ns if calm_ns is None else calm_ns) - zero_high_ns)


def _view(blocks: list[tuple[np.ndarray, np.ndarray]]) -> View:
    return View(np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks]))


def _widened(case: Case, known: Waiting, episode: Episode) -> tuple[str, ...]:
    """What may have made the interval too wide to decide."""
    from_ns, until_ns = episode.call_ns, episode.zero_high_ns + case.run.limit_ns + case.run.hold_ns
    reasons = []
    stalls = case.stalls
    long = stalls[stalls[:, 1] - stalls[:, 0] > _WORTH_NAMING_NS]
    if ((long[:, 0] <= until_ns) & (long[:, 1] >= from_ns)).any():
        reasons.append("judge_stalled")
    rows = known.rows[(known.rows["due_ns"] >= from_ns) & (known.rows["due_ns"] <= until_ns)]
    missing = (known.unaccepted >= from_ns) & (known.unaccepted <= until_ns)
    if missing.any() or (rows["accepted_ns"] - rows["due_ns"] > _WORTH_NAMING_NS).any():
        reasons.append("generator_late")
    return tuple(reasons)


def _culprit(case: Case, known: Waiting, zero_high_ns: int, looked_ns: int) -> int:
    return oldest_at(known.rows, looked_ns, zero_high_ns + case.run.limit_ns)
