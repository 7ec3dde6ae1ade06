"""Every record on the run's own topics is what it must be, where it must be, and belongs to the run.

CORRUPT       a field of an input or output record differs from what it must be
MISROUTED     right content, wrong topic, partition or key
PHANTOM       this run's tag with an identity that was never intended
FOREIGN       another run's tag (a late result on a kept testbed): counted
UNIDENTIFIED  no identity can be drawn from it

What a SYSTEM_ERROR says is for the verifier system_errors.
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.columns import NO_STREAM, Deviation, Outcome, Role
from chaosd.journal.model import Partition
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found
from chaosd.verification.case import Case
from chaosd.verification.verifier import Verifier

ANOMALIES = ("CORRUPT", "MISROUTED", "PHANTOM", "FOREIGN", "UNIDENTIFIED")
_CONTENT = (
    Deviation.UNDECODABLE
    | Deviation.DIGEST
    | Deviation.TYPE
    | Deviation.FIELD
    | Deviation.CORRELATION
    | Deviation.CAUSATION
)
_PLACE = Deviation.KEY | Deviation.TOPIC
_NOT_OURS = Deviation.UNIDENTIFIED | Deviation.FOREIGN


def fold(case: Case, partition: Partition) -> found.Findings:
    """Sort one share's records by their deviations."""
    rows = partition.sightings
    deviation = rows["deviation"]
    dlq = case.on_topics(rows, Role.DLQ)
    ours = (deviation & _NOT_OURS) == 0
    phantom = ours & (((deviation & Deviation.UNPLANNED) > 0) | (rows["row"] < 0) | _never_sent(partition))
    corrupt = ours & ~phantom & ~dlq & ((deviation & _CONTENT) > 0)
    misrouted = ours & ~phantom & ~corrupt & ((deviation & _PLACE) > 0)
    unidentified = (deviation & Deviation.UNIDENTIFIED) > 0
    # A dead letter without an identity of its own, but whose coordinates lead to an envelope, is identified.
    unidentified &= rows["row"] < 0
    masks = {
        "CORRUPT": corrupt,
        "MISROUTED": misrouted,
        "PHANTOM": phantom,
        "FOREIGN": ((deviation & Deviation.FOREIGN) > 0) & ~unidentified,
        "UNIDENTIFIED": unidentified,
    }
    findings = {name: found.of_sightings(rows[mask]) for name, mask in masks.items()}
    # Another run's identity names nothing of this one.
    findings["FOREIGN"]["stream"] = NO_STREAM
    return findings


def conclude(case: Case, findings: found.Findings) -> Verdict:
    """FAIL for any of them but FOREIGN."""
    failing = tuple(name for name in found.failing(findings, ANOMALIES) if name != "FOREIGN")
    return Verdict(
        verifier="integrity",
        grade=Grade.FAIL if failing else Grade.PASS,
        reasons=failing,
        counts=found.counts(findings, ANOMALIES),
        witnesses=found.witnesses(case, findings, ANOMALIES),
    )


def _never_sent(partition: Partition) -> np.ndarray:
    """Which records belong to an envelope that was planned, but never reached by the durable watermark of sends."""
    rows = partition.sightings["row"]
    never = np.append(partition.envelopes["outcome"] == Outcome.NOT_SENT, False)
    return np.asarray(never[rows])


verifier = Verifier("integrity", ANOMALIES, fold, found.join, conclude)
