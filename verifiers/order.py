"""Within one output partition and key, first appearances follow the order of the input log.

REORDERED  an identity whose first appearance comes after that of one with a higher input offset. Only the first
           appearance counts, so what an at-least-once target emits again is not paired. Nor are envelopes with a dead
           letter (they may have been replayed) or with more than one record in the input log. A stream has exactly
           one key (experiment/content.py).

Policy: `order: per_key | per_key_outside_faults | any`; outside: not sent and not committed past during
[inject, clear + recovery limit] of a fault.
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.columns import Role
from chaosd.journal.model import Partition
from chaosd.journal.table import Rows
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found
from chaosd.verification.case import Case
from chaosd.verification.obligations import in_flight_during_faults
from chaosd.verification.verifier import Verifier

ANOMALIES = ("REORDERED",)


def fold(case: Case, partition: Partition) -> found.Findings:
    """Compare, for each output partition and key, the order of offsets with the order of input offsets."""
    rows, sightings = partition.envelopes, partition.sightings
    at = _first_appearances(case, rows, sightings)
    of = sightings["row"][at]
    # Stable, so that each key's appearances stay in the order of (topic, partition, offset).
    order = np.argsort(_keys(rows)[of], kind="stable")
    at, of = at[order], of[order]
    late = _below_running_max(
        rows["in_offset"][of],
        (sightings["topic"][at], sightings["partition"][at], rows["stream"][of], rows["in_partition"][of]),
    )
    chosen = np.sort(at[late])
    told = found.of_sightings(sightings[chosen])
    told["allowed"] = _allowed(case, rows[sightings["row"][chosen]])
    return {"REORDERED": told}


def conclude(case: Case, findings: found.Findings) -> Verdict:
    """FAIL if any identity came out of order where the experiment demands order."""
    failing = found.failing(findings, ANOMALIES)
    return Verdict(
        verifier="order",
        grade=Grade.FAIL if failing else Grade.PASS,
        reasons=failing,
        counts=found.counts(findings, ANOMALIES),
        witnesses=found.witnesses(case, findings, ANOMALIES),
    )


def _first_appearances(case: Case, rows: Rows, sightings: Rows) -> np.ndarray:
    """For each envelope with an output the index of its first one; `sightings` is sorted by (topic, partition, offset),
    so the result is as well.
    """
    outputs = np.flatnonzero((sightings["row"] >= 0) & case.on_topics(sightings, Role.OUTPUT))
    first = np.full(len(rows), -1, np.int64)
    # Written backwards: the first one is written last, and stays.
    first[sightings["row"][outputs[::-1]]] = outputs[::-1]
    of = sightings["row"][outputs]
    paired = (rows["in_offset"] >= 0) & (rows["n_dlq"] == 0) & (rows["n_input"] <= 1)
    return np.asarray(outputs[(first[of] == outputs) & paired[of]])


def _keys(rows: Rows) -> np.ndarray:
    """A number for each envelope's key and input partition, small enough to be sorted fast where it can be."""
    partitions = int(rows["in_partition"].max(initial=0)) + 1
    keys = rows["stream"].astype(np.int64) * partitions + rows["in_partition"]
    return np.asarray(keys.astype(np.uint16) if keys.max(initial=0) <= np.iinfo(np.uint16).max else keys)


def _below_running_max(in_offset: np.ndarray, group: tuple[np.ndarray, ...]) -> np.ndarray:
    """Mask of rows whose input offset is below one that appeared before in the same group."""
    if not len(in_offset):
        return np.zeros(0, bool)
    starts = np.zeros(len(in_offset), bool)
    for column in group:
        starts[1:] |= column[1:] != column[:-1]
    # One running maximum for all groups: each group lies above all before it.
    lifted = in_offset + np.cumsum(starts) * (int(in_offset.max()) + 1)
    return np.asarray(lifted < np.maximum.accumulate(lifted))


def _allowed(case: Case, rows: Rows) -> np.ndarray:
    policy = case.run.expect.order
    if policy == "per_key_outside_faults":
        return in_flight_during_faults(case, rows)
    return np.full(len(rows), policy == "any")


verifier = Verifier("order", ANOMALIES, fold, found.join, conclude)
