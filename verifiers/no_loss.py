"""No envelope may be lost: each one that the broker has must give its result, and the result must stay.

LOST        acknowledged, its output is in neither read, and the drain of its input partition is proved
UNSEEN      the same without that proof: not known
STUCK       an input partition with due, unresolved envelopes neither commits nor resolves anything for longer than
            max(recovery limit, 10 s), with no fault in force and a healthy stack (verification/stuck.py)
VANISHED    seen live, absent in the fresh read
RESURRECTED definitely rejected, yet its record or its result is there
RECOVERED   the outcome of its send was unknown, and it appeared: counted
VOIDED      a fault took the obligation away: counted

A missing SYSTEM_ERROR is for the verifier system_errors; while it is not settled, it is UNSEEN or STUCK here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chaosd.journal.columns import Deviation, Outcome, Role
from chaosd.journal.model import Partition
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found, stuck
from chaosd.verification.case import Case
from chaosd.verification.obligations import drained, owed, resolved, voided
from chaosd.verification.verifier import Verifier

ANOMALIES = ("LOST", "UNSEEN", "STUCK", "VANISHED", "RESURRECTED", "RECOVERED", "VOIDED")
_HARMLESS = ("RECOVERED", "VOIDED")
HOPS = {
    1: "broker_lost: acknowledged, yet not in the input log",
    2: "committed past without a result",
    3: "in the input, never committed past",
}


@dataclass(frozen=True, slots=True)
class Partial:
    """`unidentified` counts output records without identity: as many missing outputs cannot be called LOST."""

    findings: found.Findings
    idle: stuck.Idle
    unidentified: int


def fold(case: Case, partition: Partition) -> Partial:
    """Sort one share's envelopes into the classes; what is missing without proof is left to conclude()."""
    rows = partition.envelopes
    owes = owed(rows)
    void = voided(case, rows)
    missing = owes & ~resolved(rows) & ~void
    proved = drained(case, rows)
    lost = missing & proved & (rows["kind"] == 0)
    vanished = owes & _vanished(case, rows)
    findings = {
        "LOST": _rows(rows, lost),
        "UNSEEN": _rows(rows, missing & ~proved),
        "STUCK": found.of_envelopes(rows[:0], rows["due_ns"][:0]),
        "VANISHED": _rows(rows, vanished),
        "RESURRECTED": _rows(rows, (rows["outcome"] == Outcome.REJECTED) & _appeared(rows)),
        "RECOVERED": _rows(rows, owes & (rows["acked_ns"] < 0) & resolved(rows)),
        "VOIDED": _rows(rows, void & owes & ~resolved(rows)),
    }
    if case.run.expect.loss == "not_judged":
        findings["LOST"]["allowed"] = 1
    # What was committed past does not wait any more; the partition may be still because there is nothing to do.
    waits = owes & ~void & ~(missing & (proved | (rows["committed"] > 0)))
    return Partial(findings, stuck.idle(case, rows, waits), _unidentified(case, partition.stray))


def merge(a: Partial, b: Partial) -> Partial:
    """Join two shares."""
    return Partial(found.join(a.findings, b.findings), stuck.join(a.idle, b.idle), a.unidentified + b.unidentified)


def conclude(case: Case, partial: Partial) -> Verdict:
    """FAIL for what is proved, INCONCLUSIVE for what is not known."""
    findings: dict[str, np.ndarray] = dict(partial.findings)
    reasons: list[str] = []
    findings["STUCK"] = stuck.find(case, partial.idle)
    unseen, halted = findings["UNSEEN"], findings["STUCK"]
    findings["UNSEEN"] = unseen[~np.isin(_identity(unseen), _identity(halted))]
    if 0 < len(findings["LOST"]) <= partial.unidentified:
        findings["UNSEEN"] = np.concatenate((findings["UNSEEN"], findings["LOST"]))
        findings["LOST"] = findings["LOST"][:0]
        reasons.append("unidentified_records")
    failing = [name for name in found.failing(findings, ANOMALIES) if name not in (*_HARMLESS, "UNSEEN")]
    if "VANISHED" in failing and _log_start_moved(case):
        failing.remove("VANISHED")
        reasons.append("retention")
    if len(findings["UNSEEN"]):
        reasons.append("UNSEEN")
    if not case.run.fresh_complete:
        reasons.append("fresh_read_incomplete")
    grade = Grade.FAIL if failing else Grade.INCONCLUSIVE if reasons else Grade.PASS
    return Verdict(
        verifier="no_loss",
        grade=grade,
        reasons=(*failing, *reasons),
        counts=found.counts(findings, ANOMALIES),
        witnesses=found.witnesses(case, findings, ANOMALIES, HOPS),
    )


def _rows(envelopes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows = envelopes[mask]
    hop = np.where(rows["in_offset"] < 0, 1, np.where(rows["committed"] > 0, 2, 3))
    return found.of_envelopes(rows, rows["due_ns"], np.where(_missing(rows), hop, 0))


def _missing(rows: np.ndarray) -> np.ndarray:
    return np.asarray((rows["outcome"] == Outcome.ACKED) & ~resolved(rows))


def _appeared(rows: np.ndarray) -> np.ndarray:
    return np.asarray((rows["in_offset"] >= 0) | (rows["n_output"] > 0) | (rows["n_dlq"] > 0))


def _vanished(case: Case, rows: np.ndarray) -> np.ndarray:
    if not case.run.fresh_complete:
        return np.zeros(len(rows), bool)
    output = (rows["live_output"] > 0) & (rows["fresh_output"] == 0)
    dlq = (rows["live_dlq"] > 0) & (rows["fresh_dlq"] == 0)
    return np.asarray(output | dlq)


def _unidentified(case: Case, stray: np.ndarray) -> int:
    here = case.on_topics(stray, Role.OUTPUT) & ((stray["deviation"] & Deviation.UNIDENTIFIED) > 0)
    return int(found.first_of_each(stray[here], "topic", "partition", "offset").sum())


def _log_start_moved(case: Case) -> bool:
    """Whether the log of an output or dead letter topic lost its head while the run went on."""
    progress = case.progress
    own = progress[case.on_topics(progress, Role.OUTPUT, Role.DLQ)]
    own = own[np.lexsort((own["t_ns"], own["partition"], own["topic"]))]
    same = ~found.first_of_each(own, "topic", "partition")[1:]
    return bool((same & (own["log_start"][1:] > own["log_start"][:-1])).any())


def _identity(rows: np.ndarray) -> Any:
    return (rows["stream"].astype(np.int64) << 32) | rows["seq"]


verifier = Verifier("no_loss", ANOMALIES, fold, merge, conclude)
