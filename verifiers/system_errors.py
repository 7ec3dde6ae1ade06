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
from chaosd.journal.table import Rows
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found
from chaosd.verification.case import Case, overlaps
from chaosd.verification.missing import masked, missing, unidentified
from chaosd.verification.obligations import sent_ns
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
    """`missing` and `unidentified` count what verification/missing.py holds against one another."""

    findings: found.Findings
    missing: int
    unidentified: int


def fold(case: Case, partition: Partition) -> Partial:
    """Compare one share's dead letters with what its envelopes owe."""
    rows, sightings = partition.envelopes, partition.sightings
    poison = rows["kind"] > 0
    gone = missing(case, rows)
    lacking = rows[gone & poison]
    dlq = sightings[case.on_topics(sightings, Role.DLQ)]
    letters = dlq[dlq["row"] >= 0]
    wrong = letters[_wrong(letters, rows)]
    surprising = rows[(rows["kind"] == 0) & (rows["n_dlq"] > 0)]
    unexpected = found.of_envelopes(surprising, surprising["first_dlq_ns"])
    unexpected["allowed"] = _allowed(case, surprising)
    findings = {
        "MISSING-ERROR": found.of_envelopes(lacking, lacking["due_ns"], np.where(lacking["in_offset"] < 0, 1, 2)),
        "WRONG-ERROR": found.of_sightings(wrong),
        "UNEXPECTED-ERROR": unexpected,
    }
    return Partial(findings, int(gone.sum()), unidentified(case, partition.stray))


def merge(a: Partial, b: Partial) -> Partial:
    """Join two shares."""
    return Partial(found.join(a.findings, b.findings), a.missing + b.missing, a.unidentified + b.unidentified)


def conclude(case: Case, partial: Partial) -> Verdict:
    """FAIL for each class that the experiment does not permit."""
    findings: dict[str, np.ndarray] = dict(partial.findings)
    unknown = len(findings["MISSING-ERROR"]) > 0 and masked(partial.missing, partial.unidentified)
    if unknown:  # the verifier no_loss has them as UNSEEN
        findings["MISSING-ERROR"] = findings["MISSING-ERROR"][:0]
    failing = found.failing(findings, ANOMALIES)
    reasons = (*failing, *(("unidentified_records",) if unknown else ()))
    return Verdict(
        verifier="system_errors",
        grade=Grade.FAIL if failing else Grade.INCONCLUSIVE if unknown else Grade.PASS,
        reasons=reasons,
        counts=found.counts(findings, ANOMALIES),
        witnesses=found.witnesses(case, findings, ANOMALIES, HOPS),
    )


def _wrong(letters: Rows, rows: Rows) -> np.ndarray:
    """Which dead letters say something wrong. Which error type an unexpected one should have is not defined."""
    judged = np.where(rows["kind"][letters["row"]] > 0, int(_WRONG), int(_WRONG & ~Deviation.ERROR_TYPE))
    return np.asarray((letters["deviation"] & judged) > 0)


def _allowed(case: Case, rows: Rows) -> np.ndarray:
    if case.run.expect.system_errors != "allowed_during_faults":
        return np.zeros(len(rows), bool)
    # Seen by the fresh read only: it came some time after the last live sighting, so it is not excused by the past.
    seen = np.where(rows["first_dlq_ns"] >= 0, rows["first_dlq_ns"], sent_ns(rows))
    return overlaps(sent_ns(rows), seen, case.trouble_spans(case.run.limit_ns))


verifier = Verifier("system_errors", ANOMALIES, fold, merge, conclude)
