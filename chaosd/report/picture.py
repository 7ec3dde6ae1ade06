"""Draws the numbers of the charts from a history: age curves, thresholds, phases, rates. Pure, and bounded in size.

The curves come from the same definitions as the verdict (verification/waiting.py, age.py): nothing is sampled, each
point is the highest age of its slice of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chaosd.journal.model import History, Partition, RunFacts
from chaosd.kernel.clock import MS, SECOND
from chaosd.report.model import Curve, Phase, Picture
from chaosd.verification.baseline import Baseline
from chaosd.verification.case import Case, open_case
from chaosd.verification.waiting import Waiting, by_kind, high_age, join, low_age, observed, waiting

_POINTS = 600
_SECONDS_MAX = 1200


@dataclass(frozen=True, slots=True)
class Seen:
    """What charts and account need beside the verdict; `output` and `dlq` count envelopes with such a result."""

    picture: Picture
    output: int
    dlq: int


def look(history: History, baselines: Mapping[str, Mapping[str, Any]]) -> Seen:
    """One pass over the history. `baselines` are the details of the verifier `recovery`, by kind of result."""
    case = open_case(history)
    run = case.run
    known: Waiting | None = None
    sent, results = [], []
    output = dlq = 0
    for partition in history.partitions():
        rows = partition.envelopes
        share = waiting(case, rows)
        known = share if known is None else join(known, share)
        sent.append(rows["sent_ns"][rows["sent_ns"] >= 0])
        results.append(_first_results(partition))
        output += int((rows["n_output"] > 0).sum())
        dlq += int((rows["n_dlq"] > 0).sum())
    if known is None or not len(known.rows):
        return Seen(Picture(until_s=_since(run, _end_ns(run)), phases=_phases(run, _end_ns(run))), output, dlq)
    looked_ns = observed(case, known.rows)[1]
    end_ns = max(looked_ns, _end_ns(run), run.started_ns + SECOND)
    step_s = -(-(end_ns - run.started_ns) // (SECOND * _SECONDS_MAX))
    t_s, curves = _curves(case, known, looked_ns, baselines)
    times = tuple(float(n * step_s) for n in range(int((end_ns - run.started_ns) // (SECOND * step_s)) + 1))
    picture = Picture(
        until_s=_since(run, end_ns),
        t_s=t_s,
        curves=curves,
        phases=_phases(run, end_ns),
        rate_t_s=times,
        sent_hz=_rates(run, np.concatenate(sent), len(times), step_s),
        results_hz=_rates(run, np.concatenate(results), len(times), step_s),
    )
    return Seen(picture, output, dlq)


def _first_results(partition: Partition) -> np.ndarray:
    rows = partition.envelopes
    times = np.where(rows["first_output_ns"] >= 0, rows["first_output_ns"], rows["first_dlq_ns"])
    return np.asarray(times[times >= 0])


def _curves(
    case: Case, known: Waiting, looked_ns: int, baselines: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[float, ...], tuple[Curve, ...]]:
    run = case.run
    until_ns = max(looked_ns, run.started_ns + SECOND)
    edges: np.ndarray = np.zeros(0, np.int64)
    curves = []
    for kind, rows in by_kind(known.rows).items():
        if not len(rows):
            continue
        edges, high = high_age(rows).curve(run.started_ns, until_ns, _POINTS)
        _, low = low_age(rows, looked_ns).curve(run.started_ns, until_ns, _POINTS)
        theta_ns = None
        if kind in baselines:
            theta_ns = Baseline(**baselines[kind]).thresholds_ns(run.expect.recovery.threshold_ns)[0]
        curves.append(
            Curve(
                kind=kind,
                low_ms=_ms(np.minimum(low, high)),
                high_ms=_ms(high),
                threshold_ms=None if theta_ns is None else round(theta_ns / MS, 1),
            )
        )
    return tuple(_since(run, int(edge)) for edge in edges), tuple(curves)


def _rates(run: RunFacts, times_ns: np.ndarray, count: int, step_s: int) -> tuple[float, ...]:
    index = (times_ns - run.started_ns) // (SECOND * step_s)
    inside = index[(index >= 0) & (index < count)]
    return tuple(round(float(n) / step_s, 1) for n in np.bincount(inside, minlength=count))


def _phases(run: RunFacts, end_ns: int) -> tuple[Phase, ...]:
    starts = [(str(fact.get("name", "")), int(fact["t_ns"])) for fact in run.facts if fact["kind"] == "phase"]
    ends = [t_ns for _, t_ns in starts[1:]] + [max(end_ns, t_ns) for _, t_ns in starts[-1:]]
    return tuple(
        Phase(name=name, from_s=max(0.0, _since(run, from_ns)), until_s=_since(run, until_ns))
        for (name, from_ns), until_ns in zip(starts, ends, strict=True)
        if until_ns > run.started_ns
    )


def _end_ns(run: RunFacts) -> int:
    last = max((int(fact["t_ns"]) for fact in run.facts), default=run.started_ns)
    return last if run.ended_ns is None else run.ended_ns


def _since(run: RunFacts, at_ns: int) -> float:
    return round((at_ns - run.started_ns) / SECOND, 3)


def _ms(values_ns: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value) / MS, 1) for value in values_ns)
