"""What cannot be processed ends as the right SYSTEM_ERROR in the dead letter topic, and nothing else does.

MISSING-ERROR     an expected SYSTEM_ERROR is in neither read, and the drain of its input partition is proved
WRONG-ERROR       the right envelope's SYSTEM_ERROR with a wrong error type, correlation, causation, coordinates or
                  payload
UNEXPECTED-ERROR  a SYSTEM_ERROR for an envelope that should have succeeded; `system_errors: allowed_during_faults`
                  permits it when [sent, seen in the dead letter topic] overlaps [inject, clear + recovery limit]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaosd.journal.columns import Deviation, Role
from chaosd.journal.model import Partition
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found
from chaosd.verification.case import Case, overlaps
from chaosd.verification.obligations import drained, owed, resolved, sent_ns, voided
from chaosd.verification.verifier import Verifier

ANOMALIES = ("MISSING-ERROR", "WRONG-ERROR", "UNEXPECTED-ERROR")
HOPS = {1: "broker_lost: acknowledged, yet not in the input log", 2: "committed past without a result"}
_WRONG = (
    Deviation.UNDECODABLE
    | Deviation.TYPE
    | Deviation.FIELD
    | Deviation.CORRELATION
    | Deviation.CAUSATION
    | Deviation.ERROR_TYPE
    | Deviation.COORDINATES
    | Deviation.PAYLOAD
)


@dataclass(frozen=True, slots=True)
class Partial:
    """`unidentified` counts dead letters without identity: as many missing ones cannot be called MISSING-ERROR."""

    findings: found.Findings
    unidentified: int


def fold(case: Case, partition: Partition) -> Partial:
    """Compare one share's dead letters with what its envelopes owe."""
    rows, sightings = partition.envelopes, partition.sightings
    poison = rows["kind"] > 0
    missing = rows[owed(rows) & poison & ~resolved(rows) & ~voided(case, rows) & drained(case, rows)]
    dlq = sightings[case.on_topics(sightings, Role.DLQ)]
    letters = dlq[dlq["row"] >= 0]
    wrong = letters[_wrong(letters, rows)]
    surprising = rows[(rows["kind"] == 0) & (rows["n_dlq"] > 0)]
    unexpected = found.of_envelopes(surprising, surprising["first_dlq_ns"])
    unexpected["allowed"] = _allowed(case, surprising)
    stray = dlq[(dlq["row"] < 0) & ((dlq["deviation"] & Deviation.UNIDENTIFIED) > 0)]
    findings = {
        "MISSING-ERROR": found.of_envelopes(missing, missing["due_ns"], np.where(missing["in_offset"] < 0, 1, 2)),
        "WRONG-ERROR": found.of_sightings(wrong),
        "UNEXPECTED-ERROR": unexpected,
    }
    return Partial(findings, int(found.first_of_each(stray, "topic", "partition", "offset").sum()))


def merge(a: Partial, b: Partial) -> Partial:
    """Join two shares."""
    return Partial(found.join(a.findings, b.findings), a.unidentified + b.unidentified)


def conclude(case: Case, partial: Partial) -> Verdict:
    """FAIL for each class that the experiment does not permit."""
    findings = partial.findings
    failing = list(found.failing(findings, ANOMALIES))
    unknown = "MISSING-ERROR" in failing and len(findings["MISSING-ERROR"]) <= partial.unidentified
    if unknown:
        failing.remove("MISSING-ERROR")
    reasons = (*failing, *(("unidentified_records",) if unknown else ()))
    return Verdict(
        verifier="system_errors",
        grade=Grade.FAIL if failing else Grade.INCONCLUSIVE if unknown else Grade.PASS,
        reasons=reasons,
        counts=found.counts(findings, ANOMALIES),
        witnesses=found.witnesses(case, findings, ANOMALIES, HOPS),
    )


def _wrong(letters: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which dead letters say something wrong. Which error type an unexpected one should have is not defined."""
    judged = np.where(rows["kind"][letters["row"]] > 0, int(_WRONG), int(_WRONG & ~Deviation.ERROR_TYPE))
    return np.asarray((letters["deviation"] & judged) > 0)


def _allowed(case: Case, rows: np.ndarray) -> np.ndarray:
    if case.run.expect.system_errors != "allowed_during_faults":
        return np.zeros(len(rows), bool)
    # Seen by the fresh read only: it came some time after the last live sighting, so it is not excused by the past.
    seen = np.where(rows["first_dlq_ns"] >= 0, rows["first_dlq_ns"], sent_ns(rows))
    return overlaps(sent_ns(rows), seen, case.fault_spans(case.run.limit_ns))


verifier = Verifier("system_errors", ANOMALIES, fold, merge, conclude)
