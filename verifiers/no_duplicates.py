"""Each identity gives its results once.

DUP-ID         more results of one kind than expected for an identity; by `duplicates: none | allowed_during_faults |
               allowed`. During a fault: the envelope was sent and not yet committed past at some time in
               [inject, clear + recovery limit]. Always counted and shown
DUP-OFFSET     one (topic, partition, offset) read with two different contents
DOUBLE-OUTCOME a result in the output and in the dead letter topic, without a replay
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.model import Partition
from chaosd.journal.table import Rows
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found
from chaosd.verification.case import Case
from chaosd.verification.obligations import in_flight_during_faults
from chaosd.verification.verifier import Verifier

ANOMALIES = ("DUP-ID", "DUP-OFFSET", "DOUBLE-OUTCOME")


def fold(case: Case, partition: Partition) -> found.Findings:
    """Count results and compare the contents of each coordinate."""
    rows = partition.envelopes
    again = rows[(rows["n_output"] > 1) | (rows["n_dlq"] > 1) | (rows["n_more"] > 0)]
    twice = found.of_envelopes(again, again["last_output_ns"])
    twice["allowed"] = _allowed(case, again)
    # A letter whose record was sent again is to be followed by a result: verifiers/replays.py.
    both = rows[(rows["n_output"] > 0) & (rows["n_dlq"] > 0) & (rows["replayed"] == 0)]
    sightings = partition.sightings if partition.contested is None else partition.contested
    return {
        "DUP-ID": twice,
        "DUP-OFFSET": _overwritten(sightings),
        "DOUBLE-OUTCOME": found.of_envelopes(both, both["first_dlq_ns"]),
    }


def conclude(case: Case, findings: found.Findings) -> Verdict:
    """FAIL for each class that the experiment does not permit."""
    failing = found.failing(findings, ANOMALIES)
    allowed = int(findings["DUP-ID"]["allowed"].sum())
    return Verdict(
        verifier="no_duplicates",
        grade=Grade.FAIL if failing else Grade.PASS,
        reasons=failing,
        counts=found.counts(findings, ANOMALIES),
        witnesses=found.witnesses(case, findings, ANOMALIES),
        details={"duplicates_allowed": allowed},
    )


def _allowed(case: Case, rows: Rows) -> np.ndarray:
    policy = case.run.expect.duplicates
    if policy == "allowed_during_faults":
        return in_flight_during_faults(case, rows)
    return np.full(len(rows), policy == "allowed")


def _overwritten(sightings: Rows) -> np.ndarray:
    """Rows whose content differs from what was read before at the same place; `sightings` is sorted by coordinates."""
    same = ~found.first_of_each(sightings, "topic", "partition", "offset")
    changed = np.zeros(len(sightings), bool)
    changed[1:] = same[1:] & (sightings["content"][1:] != sightings["content"][:-1])
    return found.of_sightings(sightings[changed])


verifier = Verifier("no_duplicates", ANOMALIES, fold, found.join, conclude)
