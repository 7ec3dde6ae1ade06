"""Figures beside a recovery that explain it and are never judged: first result, detection, flaps, dip, headroom."""

from __future__ import annotations

from typing import Any

import numpy as np

from chaosd.journal.model import RunFacts
from chaosd.journal.table import Rows, Table
from chaosd.kernel.clock import MS, SECOND
from chaosd.verification.case import NEVER_NS, merge_spans
from chaosd.verification.episodes import Episode
from chaosd.verification.recovering import Recovery, View
from chaosd.verification.waiting import BASELINE, BURST, high_age, high_longer

_POINTS = 600


def figures(run: RunFacts, recovery: Recovery, high: View, rows: Table, threshold_ns: int) -> dict[str, Any]:
    """All of one episode, ms and results/s. None where there is nothing to tell."""
    episode = recovery.episode
    until_ns = episode.zero_high_ns + run.limit_ns + run.hold_ns
    blocks = merge_spans(np.stack([high.from_ns, high.until_ns], axis=1))
    during = blocks[(blocks[:, 1] >= episode.call_ns) & (blocks[:, 0] <= until_ns)]
    after = blocks[(blocks[:, 1] > episode.zero_low_ns) & (blocks[:, 0] <= until_ns)]
    age = high_age(high_longer(rows, threshold_ns))
    came = rows["until_high_ns"]
    first = int(came[came >= episode.zero_low_ns].min(initial=NEVER_NS))
    return {
        "first_result_ms": round(float(first - episode.zero_low_ns) / MS, 1) if first < NEVER_NS else None,
        "detection_ms": round(float(max(0, during[0, 0] - episode.call_ns)) / MS, 1) if len(during) else None,
        "flaps": max(0, len(after) - 1),
        "excess_ms_s": round(age.excess_ns_s(threshold_ns, episode.call_ns, until_ns) / MS, 1),
        "throughput": _throughput(rows, episode, recovery),
    }


def headroom(run: RunFacts, rows: Rows, episode: Episode) -> dict[str, float] | None:
    """What an outage of this length leaves to catch up: D·(λ_f − C_f) results at C − λ.

    C is from the burst of the warm-up, λ_f and C_f are what was due and what came out while it lasted.

    None when no burst was sent or it did not come out.
    """
    burst = rows[rows["phase"] == BURST]
    done = burst["until_high_ns"]
    segments = [s for s in run.segments if s.phase == "baseline"]
    if len(burst) < 2 or not segments or (done >= NEVER_NS).any():
        return None
    capacity_hz = len(burst) / max(1e-9, float(done.max() - burst["due_ns"].min()) / SECOND)
    rate_hz = SECOND / segments[-1].interval_ns
    outage_s = (episode.clear_ns - episode.call_ns) / SECOND
    due, seen = (
        ((t >= episode.call_ns) & (t <= episode.clear_ns)).sum() for t in (rows["due_ns"], rows["until_high_ns"])
    )
    residual_hz = float(seen) / max(outage_s, 1e-9)
    spare_hz = capacity_hz - rate_hz
    # Of what was really due meanwhile: with an overload that is more than the traffic's own rate.
    backlog = max(0.0, float(due) - float(seen))
    catch_up_s = backlog / spare_hz if spare_hz > 0 else float("inf")
    figures = {
        "outage_s": outage_s,
        "rate_hz": rate_hz,
        "capacity_hz": capacity_hz,
        "residual_hz": residual_hz,
        "catch_up_s": min(catch_up_s, 1e6),
    }
    return {name: round(value, 2) for name, value in figures.items()}


def curve(run: RunFacts, rows: Rows, until_ns: int) -> dict[str, list[float]]:
    """The age curve for a picture: `t_s` since the start of the run, `age_ms` the highest of each slice.

    Verifiers stored with older runs ask for it; the report draws its own.
    """
    times, ages = high_age(rows).curve(run.started_ns, max(until_ns, run.started_ns + 1), _POINTS)
    return {
        "t_s": [round(float(t - run.started_ns) / SECOND, 3) for t in times],
        "age_ms": [round(float(a) / MS, 1) for a in ages],
    }


def _throughput(rows: Table, episode: Episode, recovery: Recovery) -> dict[str, float | None]:
    """Results/s: in the baseline, in the worst second from the injection on, while catching up."""
    came = rows["until_high_ns"]
    base = came[(rows["phase"] == BASELINE) & (came < NEVER_NS)]
    span_s = float(np.ptp(base)) / SECOND if len(base) > 1 else 0.0
    catch_up_ns = min(recovery.high_ns or 0, 60 * SECOND)
    seconds = (max(episode.zero_high_ns + catch_up_ns, episode.call_ns + SECOND) - episode.call_ns) // SECOND
    second = (came[(came >= episode.call_ns) & (came < episode.call_ns + seconds * SECOND)] - episode.call_ns) // SECOND
    caught_up = int(((came >= episode.zero_low_ns) & (came <= episode.zero_low_ns + catch_up_ns)).sum())
    return {
        "baseline_hz": round(len(base) / span_s, 1) if span_s else None,
        "lowest_hz": float(np.bincount(second, minlength=seconds).min()),
        "catch_up_hz": round(caught_up / (catch_up_ns / SECOND), 1) if catch_up_ns else None,
    }
