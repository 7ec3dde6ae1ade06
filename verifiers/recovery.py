"""After each episode of faults the pipeline must be back within the limit, judged by the age of what waits.

SLOW-RECOVERY is too_slow or not_recovered, SLOW is too_late:

too_slow       the least recovery time that agrees with what was seen is beyond the limit
not_recovered  the same, and calm was not seen again
too_late       the 99th percentile of the latency outside faults is above what the experiment allows

Undecided: baseline_missing, baseline_unstable, baseline_too_slow, too_short, judge_stalled, generator_late,
not_decided, not_healed, and part_slow: a FAIL that stands only by what waited while a part itself was slow. `capacity`
beside a FAIL: its backlog explains it. Definitions: verification/recovering.py, verification/health.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chaosd.journal.model import Partition
from chaosd.journal.table import Table
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade, Verdict, Witness
from chaosd.verification.baseline import Baseline, measure, percentile, reused
from chaosd.verification.case import NEVER_NS, Case, overlaps
from chaosd.verification.episodes import episodes
from chaosd.verification.figures import figures, headroom
from chaosd.verification.recovering import Recovery, View, judge_episode, views
from chaosd.verification.verifier import Verifier
from chaosd.verification.waiting import BASELINE, Waiting, by_kind, join, observed, times, waiting

ANOMALIES = ("SLOW-RECOVERY", "SLOW")
_FAILED = ("too_slow", "not_recovered", "too_late")


def fold(case: Case, partition: Partition) -> Waiting:
    """The waiting times of one share."""
    return waiting(case, partition.envelopes)


def conclude(case: Case, known: Waiting) -> Verdict:
    """Judge every episode against the baseline, and the latency outside faults if asked."""
    baselines = _baselines(case, known)
    details: dict[str, Any] = {}
    if baselines is None:
        needed = any(one.call_ns >= 0 for one in case.run.injections)
        reasons: tuple[str, ...] = ("baseline_missing",) if needed else ()
        return _verdict(case, reasons, [], known, details)
    details["baseline"] = {kind: _shown(one) for kind, one in baselines.items()}
    recoveries, blocked = _recoveries(case, known, baselines, details)
    tried = [one for one in case.run.injections if one.call_ns >= 0]
    unhealed = any(one.clear_high_ns < 0 for one in tried)
    late = _outside(case, known, recoveries, details, baselines)
    found = [reason for recovery in recoveries for reason in recovery.reasons]
    reasons = tuple(dict.fromkeys((*found, *late, *blocked, *(("not_healed",) if unhealed else ()))))
    if slow := case.slow_told(reasons):
        details["slow_parts"] = slow
    return _verdict(case, reasons, recoveries, known, details)


def _baselines(case: Case, known: Waiting) -> dict[str, Baseline] | None:
    rows = known.rows[known.rows["phase"] == BASELINE]
    measured = measure({kind: times(own) for kind, own in by_kind(rows).items()})
    if case.run.baseline_reused is not None:
        return reused(dict(case.run.baseline_reused["kinds"]), measured)
    return measured


def _recoveries(
    case: Case, known: Waiting, baselines: dict[str, Baseline], details: dict[str, Any]
) -> tuple[list[Recovery], tuple[str, ...]]:
    """Every episode judged; a baseline that allows no judgement takes the verdicts back."""
    cap_ns = case.run.expect.recovery.threshold_ns
    ends_ns = observed(case, known.rows)
    kinds = by_kind(known.rows)
    low, high = views(kinds, known.unaccepted, baselines, cap_ns=cap_ns, looked_ns=ends_ns[1])
    threshold_ns = _threshold_ns(case, kinds, baselines)
    blocked = []
    if not all(one.stable for one in _used(kinds, baselines)):
        blocked.append("baseline_unstable")
    if threshold_ns > case.run.limit_ns / 4:
        blocked.append("baseline_too_slow")
    recoveries = [
        judge_episode(case, episode, low, high, known=known, ends_ns=ends_ns, threshold_ns=threshold_ns)
        for episode in episodes(case.run, threshold_ns)
    ]
    recoveries = [_still_broken(case, recovery, threshold_ns) for recovery in recoveries]
    if blocked:
        recoveries = [Recovery(r.episode, r.low_ns, r.high_ns, Grade.INCONCLUSIVE, tuple(blocked)) for r in recoveries]
    details["episodes"] = [_told(case, recovery, high, known, threshold_ns) for recovery in recoveries]
    return recoveries, tuple(blocked) if recoveries else ()


def _used(kinds: dict[str, Table], baselines: dict[str, Baseline]) -> list[Baseline]:
    """Those of the kinds of results that the run has."""
    return [one for kind, one in baselines.items() if len(kinds[kind])] or list(baselines.values())


def _threshold_ns(case: Case, kinds: dict[str, Table], baselines: dict[str, Baseline]) -> int:
    """θ: the lower one of every kind, of all kinds the highest."""
    cap_ns = case.run.expect.recovery.threshold_ns
    return max(one.thresholds_ns(cap_ns)[0] for one in _used(kinds, baselines))


def _still_broken(case: Case, recovery: Recovery, threshold_ns: int) -> Recovery:
    """A FAIL while another fault was in force that nobody healed is not the pipeline's."""
    until_ns = recovery.episode.zero_high_ns + case.run.limit_ns + case.run.hold_ns + threshold_ns
    stays = any(one.clear_high_ns < 0 and 0 <= one.call_ns <= until_ns for one in case.run.injections)
    if recovery.grade is Grade.FAIL and stays:
        return replace(recovery, grade=Grade.INCONCLUSIVE, reasons=("not_healed",))
    return recovery


def _outside(
    case: Case, known: Waiting, recoveries: list[Recovery], details: dict[str, Any], baselines: dict[str, Baseline]
) -> tuple[str, ...]:
    """The 99th percentile of the latency of envelopes due outside [inject, recovered]."""
    limit_ns = case.run.expect.latency_p99_outside_faults_ns
    if limit_ns is None:
        return ()
    spans = [
        (r.episode.call_ns, r.episode.zero_high_ns + (case.run.limit_ns if r.high_ns is None else r.high_ns))
        for r in recoveries
    ]
    rows = known.rows[known.rows["phase"] >= BASELINE]
    rows = rows[~overlaps(rows["due_ns"], rows["due_ns"], np.array(spans, np.int64).reshape(-1, 2))]
    if not len(rows):
        return ("nothing_outside_faults",)
    low_ns, high_ns = percentile(times(rows).low_ns, 99), percentile(times(rows).high_ns, 99)
    details["p99_outside_faults_ms"] = [round(low_ns / MS, 3), _ms(high_ns)]
    if low_ns > limit_ns:
        threshold_ns = _threshold_ns(case, by_kind(known.rows), baselines)
        # A threshold above a quarter of the limit may be without end.
        slow = case.slow_spans(min(threshold_ns, case.run.limit_ns // 4))
        spared = rows[~overlaps(rows["due_ns"], rows["due_ns"] + limit_ns, slow)]
        if not len(spared) or percentile(times(spared).low_ns, 99) <= limit_ns:
            blamed = case.blamed(int(rows["due_ns"].min()), int(rows["due_ns"].max()) + limit_ns)
            return blamed or ("latency_not_decided",)
        return ("too_late",)
    return ("latency_not_decided",) if high_ns > limit_ns else ()


def _told(case: Case, recovery: Recovery, high: View, known: Waiting, threshold_ns: int) -> dict[str, Any]:
    episode = recovery.episode
    room = headroom(case.run, known.rows, episode)
    reasons = list(recovery.reasons)
    if recovery.grade is Grade.FAIL and room and room["catch_up_s"] > case.run.limit_ns / SECOND:
        reasons.append("capacity")
    return {
        "fault": episode.name,
        "injections": [one.id for one in episode.injections],
        "from": case.run.expect.recovery.from_,
        "low_ms": round(recovery.low_ns / MS, 3),
        "high_ms": None if recovery.high_ns is None else round(recovery.high_ns / MS, 3),
        "limit_ms": round(case.run.limit_ns / MS, 3),
        "threshold_ms": round(threshold_ns / MS, 3),
        "verdict": recovery.grade.name,
        "reasons": reasons,
        "headroom": room,
        **(figures(case.run, recovery, high, known.rows, threshold_ns) if case.explained else {}),
    }


def _verdict(
    case: Case, reasons: tuple[str, ...], recoveries: list[Recovery], known: Waiting, details: dict[str, Any]
) -> Verdict:
    failed = any(reason in _FAILED for reason in reasons)
    slow = [recovery for recovery in recoveries if recovery.grade is Grade.FAIL]
    witnesses = []
    for recovery in slow:
        row = known.rows[recovery.culprit] if recovery.culprit >= 0 else None
        witnesses.append(
            Witness(
                anomaly="SLOW-RECOVERY",
                stream=-1 if row is None else int(row["stream"]),
                seq=-1 if row is None else int(row["seq"]),
                detail=f"{recovery.episode.name}: still waiting at the limit",
            )
        )
    if any("capacity" in told["reasons"] for told in details.get("episodes", ())):
        reasons = (*reasons, "capacity")
    return Verdict(
        verifier="recovery",
        grade=Grade.FAIL if failed else Grade.INCONCLUSIVE if reasons else Grade.PASS,
        reasons=reasons,
        counts={"SLOW-RECOVERY": len(slow), "SLOW": int("too_late" in reasons)},
        witnesses=tuple(witnesses[: case.witness_limit]),
        details=details,
    )


def _shown(baseline: Baseline) -> dict[str, Any]:
    names = ("n", "p50_low_ns", "p50_high_ns", "p999_low_ns", "p999_high_ns", "pooled", "stable")
    return {name: getattr(baseline, name) for name in names}


def _ms(value_ns: int) -> float | None:
    return None if value_ns >= NEVER_NS else round(value_ns / MS, 3)


verifier = Verifier("recovery", ANOMALIES, fold, join, conclude)
