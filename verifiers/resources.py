"""What the target uses does not run away. Nothing here is judged unless the experiment asks: `expect: resources: …`.

LEAK       `leak: none`: memory, open files or connections of the target grow in calm times (a Theil-Sen slope whose
           99 % interval lies above the margin); or files and connections that a fault cost do not come back after it
BACKLOG    `queue: bounded`: what the group has not committed yet grows in calm times
DEGRADED   `latency: as_before`: after the last fault the median latency is not what it was in the baseline
EXHAUSTED  `connections: N`: more than N connections at once from the target to one part

Calm is the time from the baseline to the end of the traffic without [inject, clear + recovery limit + hold] of a fault.
Growth is held against a margin over the calm time seen: a tenth of the level, and at least 16 MiB, 4 files or
connections, or half a second's worth of traffic in the queue. A run with less than 30 s or 20 samples of calm time does
not tell: `resources_too_short`, INCONCLUSIVE. So ask in runs that are long enough; short ones judge the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chaosd.journal.columns import NOT_KNOWN, Role, State
from chaosd.journal.model import Partition
from chaosd.kernel import names
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade, Verdict, Witness
from chaosd.verification.baseline import percentile
from chaosd.verification.case import NEVER_NS, Case, merge_spans, overlaps
from chaosd.verification.trend import Trend, trend
from chaosd.verification.verifier import Verifier
from chaosd.verification.waiting import BASELINE, LATER, WAITING, times, waiting

ANOMALIES = ("LEAK", "BACKLOG", "DEGRADED", "EXHAUSTED")
_TARGET = "target"
_SHARE = 0.1
_MARGINS = {"memory": float(16 << 20), "files": 4.0, "connections": 4.0}
_ENOUGH_S, _ENOUGH = 30.0, 20
_STRETCH_NS = 5 * SECOND
_RESULTS, _DIFFER_NS, _DIFFER = 30, 20 * MS, 0.5
_NOTHING = np.zeros(0, WAITING)

Series = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question came to. `anomaly` is empty where nothing is wrong, `reason` where it is decided."""

    anomaly: str
    reason: str
    about: str
    told: dict[str, Any]


def fold(case: Case, partition: Partition) -> np.ndarray:
    """Only the latency is in the shares: the waiting times, and only where they are asked for."""
    if case.run.expect.resources.latency != "as_before":
        return _NOTHING
    return waiting(case, partition.envelopes).rows.rows()


def merge(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Join two shares."""
    return np.concatenate((a, b))


def conclude(case: Case, rows: np.ndarray) -> Verdict:
    """FAIL for what runs away, INCONCLUSIVE for what is asked and not known; PASS where nothing is asked."""
    asked, findings = case.run.expect.resources, list[Finding]()
    if asked.leak == "none":
        findings += _leaks(case)
    if asked.queue == "bounded":
        findings.append(_backlog(case))
    if asked.latency == "as_before":
        findings += _degraded(case, rows)
    if asked.connections is not None:
        findings.append(_exhausted(case, asked.connections))
    failing = tuple(dict.fromkeys(one.anomaly for one in findings if one.anomaly))
    unsure = tuple(dict.fromkeys(one.reason for one in findings if one.reason))
    told = [one for one in findings if one.anomaly]
    return Verdict(
        verifier="resources",
        grade=Grade.FAIL if failing else Grade.INCONCLUSIVE if unsure else Grade.PASS,
        reasons=(*failing, *unsure),
        counts={name: sum(one.anomaly == name for one in findings) for name in ANOMALIES},
        witnesses=tuple(Witness(one.anomaly, -1, -1, detail=one.about) for one in told)[: case.witness_limit],
        details={one.about: one.told for one in findings if one.told},
    )


def _calm(case: Case) -> list[tuple[int, int]]:
    """Stretches of ordinary traffic without a fault, the pipeline having had its time to recover."""
    run = case.run
    own = [s for s in run.segments if s.phase in ("baseline", "faults", "tail")]
    if not own:
        return []
    from_ns = min(s.start_ns for s in own)
    end_ns = max(s.start_ns + s.count * s.interval_ns for s in own)
    stretches = []
    for start, until in merge_spans(case.trouble_spans(run.limit_ns + run.hold_ns)):
        stretches.append((from_ns, min(int(start), end_ns)))
        from_ns = max(from_ns, int(until))
    stretches.append((from_ns, end_ns))
    return [(a, b) for a, b in stretches if b - a >= _STRETCH_NS]


def _in_calm(case: Case, series: Series) -> list[Series]:
    t_ns, values = series
    return [(t_ns[inside], values[inside]) for a, b in _calm(case) for inside in [(t_ns >= a) & (t_ns <= b)]]


def _used(case: Case) -> Iterator[tuple[str, str, list[Series]]]:
    """(kind, what it is of, its calm stretches): a process that was started anew begins another stretch."""
    for number, name in enumerate(case.run.processes):
        rows = case.resources[(case.resources["process"] == number) & (case.resources["state"] != State.GONE)]
        if names.kind(name) != _TARGET or not len(rows):
            continue
        lives = [rows[rows["started"] == started] for started in np.unique(rows["started"])]
        for kind, column in (("memory", "rss_bytes"), ("files", "fds")):
            own = [part for life in lives for part in _in_calm(case, (life["t_ns"], life[column]))]
            yield kind, f"{kind} of {name}", own
    for number, part in enumerate(case.run.parts):
        rows = case.exposure[case.exposure["on"] == number]
        if len(rows):
            yield "connections", f"connections to {part}", _in_calm(case, (rows["t_ns"], _connections(rows)))


def _connections(rows: np.ndarray) -> np.ndarray:
    """How many the target has to a part. Of a target that chaosd did not start, those through its proxy: who else goes
    to the part directly is not known.
    """
    return np.asarray(rows["proxied"].astype(np.int64) + np.where(rows["direct"] == NOT_KNOWN, 0, rows["direct"]))


def _leaks(case: Case) -> list[Finding]:
    findings = []
    for kind, about, stretches in _used(case):
        margin = _MARGINS[kind]
        grown = _grows(trend(stretches), margin, "LEAK", about)
        kept = [float(np.median(values)) for _, values in stretches if len(values)]
        # What an allocator keeps after an outage is not lost; a file or a connection that stays open is.
        if kind != "memory" and len(kept) > 1 and kept[-1] - kept[0] > max(margin, _SHARE * kept[0]):
            told = {**grown.told, "before": kept[0], "after": kept[-1]}
            grown = Finding("LEAK", "", f"{about}: not given back after the faults", told)
        findings.append(grown)
    return findings or [Finding("", "resources_unknown", "target", {})]


def _grows(found: Trend | None, margin: float, anomaly: str, about: str) -> Finding:
    if found is None or found.seconds < _ENOUGH_S or found.samples < _ENOUGH:
        return Finding("", "resources_too_short", about, {})
    allowed = max(margin, _SHARE * found.level)
    low, high = found.low * found.seconds, found.high * found.seconds
    told = {
        "grew_by": [round(low, 1), round(high, 1)],
        "allowed": round(allowed, 1),
        "level": round(found.level, 1),
        "calm_s": round(found.seconds, 1),
    }
    if low > allowed:
        return Finding(anomaly, "", about, told)
    return Finding("", "resources_not_decided" if high > allowed else "", about, told)


def _backlog(case: Case) -> Finding:
    progress = case.progress[case.on_topics(case.progress, Role.INPUT)]
    progress = progress[progress["end"] >= 0]
    t_ns = np.unique(progress["t_ns"])
    lag = np.zeros(len(t_ns))
    pending = progress["end"] - np.maximum(progress["committed"], progress["log_start"])
    np.add.at(lag, np.searchsorted(t_ns, progress["t_ns"]), np.maximum(0, pending))
    steady = [s.interval_ns for s in case.run.segments if s.phase == "baseline"]
    margin = 0.5 * SECOND / steady[-1] if steady else 1.0
    return _grows(trend(_in_calm(case, (t_ns, lag))), margin, "BACKLOG", "envelopes not committed")


def _degraded(case: Case, rows: np.ndarray) -> list[Finding]:
    """The median of the latency after the last fault is known to be worse by half, and by 20 ms."""
    calm = _calm(case)
    after_ns = max(case.trouble_spans(case.run.limit_ns)[:, 0], default=NEVER_NS)
    base = times(rows[rows["phase"] == BASELINE])
    late = [(rows["due_ns"] >= a) & (rows["due_ns"] <= b) for a, b in calm if a > after_ns]
    later = times(rows[(rows["phase"] == LATER) & np.logical_or.reduce(late)]) if late else times(rows[:0])
    if len(base) < _RESULTS or len(later) < _RESULTS:
        return [Finding("", "resources_too_short", "latency", {})]
    before = [percentile(base.low_ns, 50), percentile(base.high_ns, 50)]
    after = [percentile(later.low_ns, 50), percentile(later.high_ns, 50)]
    told: dict[str, Any] = {
        "before_ms": [round(ns / MS, 3) for ns in before],
        "after_ms": [round(ns / MS, 3) for ns in after],
    }
    if after[0] > _worse(before[1]):
        spared = later[~overlaps(later.due_ns, later.due_ns, case.slow_spans())]
        if len(spared) < _RESULTS or percentile(spared.low_ns, 50) <= _worse(before[1]):
            slow = case.blamed(int(later.due_ns.min()), int(later.due_ns.max())) or ("resources_not_decided",)
            told["slow_parts"] = case.slow_told(slow)
            return [Finding("", reason, "latency", told) for reason in slow]
        return [Finding("DEGRADED", "", "latency", told)]
    return [Finding("", "resources_not_decided" if after[1] > _worse(before[0]) else "", "latency", told)]


def _worse(than_ns: int) -> int:
    return than_ns + max(_DIFFER_NS, round(_DIFFER * than_ns))


def _exhausted(case: Case, most: int) -> Finding:
    rows = case.exposure
    if not len(rows):
        return Finding("", "resources_unknown", "connections", {})
    count = _connections(rows)
    highest = {part: int(count[rows["on"] == n].max(initial=0)) for n, part in enumerate(case.run.parts)}
    over = ", ".join(f"{number} to {part}" for part, number in highest.items() if number > most)
    return Finding("EXHAUSTED" if over else "", "", f"connections at once: {over}" if over else "connections", highest)


verifier = Verifier("resources", ANOMALIES, fold, merge, conclude)
