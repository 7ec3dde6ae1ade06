"""No envelope may be lost: each one that the broker has must give its result, and the result must stay.

LOST        acknowledged, its output is in neither read, and the drain of its input partition is proved
UNSEEN      the same without that proof: not known
STUCK       an input partition with due, unresolved envelopes neither commits nor resolves anything for longer than
            max(recovery limit, 10 s, the target's own idle time), with no fault in force and a healthy stack
            (verification/stuck.py)
VANISHED    a record seen live, absent in the fresh read: left open where the topic is compacted or the log begins
            behind it
RESURRECTED definitely rejected, yet its record or its result is there
RECOVERED   the outcome of its send was unknown, and it appeared: counted
VOIDED      a fault took the obligation away: counted

What was seen in a topic that a fault deleted is no VANISHED; the detail `deleted` counts it, and what nobody had read.

A missing SYSTEM_ERROR is for the verifier system_errors; while it is not settled, it is UNSEEN or STUCK here. The
detail `loss` bounds the results lost, SYSTEM_ERRORs included: at least `proved`, at most `possible`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chaosd.journal.columns import Outcome, Role
from chaosd.journal.join import coordinates
from chaosd.journal.model import Partition
from chaosd.journal.table import Rows
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found, inside, stuck
from chaosd.verification.case import Case
from chaosd.verification.missing import bounds, masked, missing, unidentified
from chaosd.verification.obligations import owed, resolved, voided
from chaosd.verification.verifier import Verifier

ANOMALIES = ("LOST", "UNSEEN", "STUCK", "VANISHED", "RESURRECTED", "RECOVERED", "VOIDED")
_HARMLESS = ("RECOVERED", "VOIDED")
HOPS = {
    1: "broker_lost: acknowledged, yet not in the input log",
    inside.PASSED: "committed past without a result",
    3: "in the input, never committed past",
    4: "the topic's own retention or compaction may have taken it",
}
_TAKEN = 4


@dataclass(frozen=True, slots=True)
class Partial:
    """`errors` are SYSTEM_ERRORs missing by proof (dtype FOUND), `unidentified` counts records that may be results,
    `unsettled` sends of which nobody knows whether they are in the log, `deleted` what was seen in each deleted topic.
    """

    findings: found.Findings
    idle: stuck.Idle
    errors: np.ndarray
    unidentified: int
    unsettled: int
    deleted: np.ndarray


def fold(case: Case, partition: Partition) -> Partial:
    """Sort one share's envelopes into the classes; what is missing without proof is left to conclude()."""
    rows = partition.envelopes
    owes = owed(rows)
    void = voided(case, rows)
    done = resolved(rows)
    gone = missing(case, rows)
    unseen = owes & ~done & ~void & ~gone
    lost = gone & (rows["kind"] == 0)
    findings = {
        "LOST": inside.attributed(case, partition, np.flatnonzero(lost), _rows(rows, lost)),
        "UNSEEN": _rows(rows, unseen),
        "STUCK": found.of_envelopes(rows[:0], rows["due_ns"][:0]),
        "VANISHED": _vanished(case, partition.sightings),
        "RESURRECTED": _rows(rows, (rows["outcome"] == Outcome.REJECTED) & _appeared(rows)),
        "RECOVERED": _rows(rows, done & _unknown(rows)),
        "VOIDED": _rows(rows, void & owes & ~done),
    }
    if case.run.expect.loss == "not_judged":
        findings["LOST"]["allowed"] = 1
    # What was committed past does not wait any more; the partition may be still because there is nothing to do.
    waits = owes & ~void & ~gone & ~(unseen & (rows["committed"] > 0))
    unsettled = 0 if case.run.fresh_complete else int(((rows["outcome"] == Outcome.INDETERMINATE) & ~done).sum())
    return Partial(
        findings=findings,
        idle=stuck.idle(case, rows, waits),
        errors=_rows(rows, gone & (rows["kind"] > 0)),
        unidentified=unidentified(case, partition.stray),
        unsettled=unsettled,
        deleted=np.array([_seen_of(partition.sightings, one.topic) for one in case.run.deletions], np.int64),
    )


def merge(a: Partial, b: Partial) -> Partial:
    """Join two shares."""
    return Partial(
        findings=found.join(a.findings, b.findings),
        idle=stuck.join(a.idle, b.idle),
        errors=np.concatenate((a.errors, b.errors)),
        unidentified=a.unidentified + b.unidentified,
        unsettled=a.unsettled + b.unsettled,
        deleted=a.deleted + b.deleted,
    )


def conclude(case: Case, partial: Partial) -> Verdict:
    """FAIL for what is proved, INCONCLUSIVE for what is not known."""
    findings: dict[str, np.ndarray] = dict(partial.findings)
    reasons: list[str] = []
    findings["STUCK"] = stuck.find(case, partial.idle)
    unseen, halted = findings["UNSEEN"], findings["STUCK"]
    findings["UNSEEN"] = unseen[~np.isin(_identity(unseen), _identity(halted))]
    gone = len(findings["LOST"]) + len(partial.errors)
    unknown = len(unseen) + partial.unsettled
    if gone and masked(gone, partial.unidentified):
        findings["UNSEEN"] = np.concatenate((findings["UNSEEN"], findings["LOST"], partial.errors))
        findings["LOST"] = findings["LOST"][:0]
        reasons.append("unidentified_records")
    failing = [name for name in found.failing(findings, ANOMALIES) if name not in (*_HARMLESS, "UNSEEN")]
    if (findings["VANISHED"]["hop"] == _TAKEN).any():
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
        witnesses=found.witnesses(case, findings, ANOMALIES, {**HOPS, **inside.hops(case)}),
        details={"loss": bounds(gone, partial.unidentified, unknown), **_deleted(case, partial.deleted)},
    )


def _deleted(case: Case, seen: np.ndarray) -> dict[str, Any]:
    told = [
        {"topic": case.run.topics[one.topic].name, "seen": int(count), "unread": one.unread}
        for one, count in zip(case.run.deletions, seen, strict=True)
    ]
    return {"deleted": told} if told else {}


def _seen_of(sightings: Rows, topic: int) -> int:
    here = sightings[sightings["topic"] == topic]
    return int(found.first_of_each(here, "partition", "offset").sum())


def _rows(envelopes: Rows, mask: np.ndarray) -> np.ndarray:
    rows = envelopes[mask]
    hop = np.where(rows["in_offset"] < 0, 1, np.where(rows["committed"] > 0, inside.PASSED, 3))
    return found.of_envelopes(rows, rows["due_ns"], np.where(_missing(rows), hop, 0))


def _missing(rows: Rows) -> np.ndarray:
    return np.asarray((rows["outcome"] == Outcome.ACKED) & ~resolved(rows))


def _unknown(rows: Rows) -> np.ndarray:
    """Which sends nobody acknowledged: still unknown, or settled by the input log alone."""
    settled = (rows["outcome"] == Outcome.ACKED) & (rows["acked_ns"] < 0)
    return np.asarray(settled | (rows["outcome"] == Outcome.INDETERMINATE))


def _appeared(rows: Rows) -> np.ndarray:
    return np.asarray((rows["in_offset"] >= 0) | (rows["n_output"] > 0) | (rows["n_dlq"] > 0))


def _vanished(case: Case, sightings: Rows) -> np.ndarray:
    """Records of results that were read live, and not as this envelope's at the same place by the fresh read."""
    if not case.run.fresh_complete:
        return found.of_sightings(sightings[:0])
    follows = ~found.first_of_each(sightings, "topic", "partition", "offset", "row")[1:]
    live = sightings["final"] == 0
    # Nearly every record is read live and then afresh: two rows beside one another.
    alone = live.copy()
    alone[:-1] &= ~follows
    alone = np.flatnonzero(alone & (sightings["row"] >= 0) & case.on_topics(sightings, Role.OUTPUT, Role.DLQ))
    if case.run.deletions:
        alone = alone[~np.isin(sightings["topic"][alone], [one.topic for one in case.run.deletions])]
    if not len(alone):
        return found.of_sightings(sightings[:0])
    place = coordinates(sightings["topic"], sightings["partition"], sightings["offset"])
    there = np.flatnonzero(~live & np.isin(place, place[alone]))
    fresh = set(zip(place[there].tolist(), sightings["row"][there].tolist(), strict=True))
    seen = zip(place[alone].tolist(), sightings["row"][alone].tolist(), strict=True)
    gone = alone[[one not in fresh for one in seen]]
    told = found.of_sightings(sightings[gone])
    told["allowed"] = _may_be_taken(case, told)
    told["hop"] = np.where(told["allowed"], _TAKEN, 0)
    return told


def _may_be_taken(case: Case, told: np.ndarray) -> np.ndarray:
    """Which records the broker itself may have removed: of compacted topics, and before the start of their log."""
    taken = np.array([case.run.topics[topic].compacted for topic in told["topic"]], bool)
    progress = case.progress[case.progress["log_start"] > 0]
    for index, row in enumerate(told):
        same = (progress["topic"] == row["topic"]) & (progress["partition"] == row["partition"])
        taken[index] |= bool((progress["log_start"][same] > row["offset"]).any())
    return taken


def _identity(rows: Rows) -> Any:
    return (rows["stream"].astype(np.int64) << 32) | rows["seq"]


verifier = Verifier("no_loss", ANOMALIES, fold, merge, conclude)
