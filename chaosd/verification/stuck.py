"""Finds input partitions that stand still although there is work, no fault is in force and the stack is healthy.

An input partition is still between two signs of life: a committed advance of the target's group (seen in the tap's
samples, so at most one sample late) and an identity resolved for the first time. A crash loop that emits one batch
again and again resolves nothing new, and so is still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chaosd.journal.columns import Role
from chaosd.journal.table import Rows
from chaosd.kernel.clock import MS, SECOND
from chaosd.verification import found
from chaosd.verification.case import NEVER_NS, Case, merge_spans
from chaosd.verification.latency import stalled_ns
from chaosd.verification.obligations import resolved, result_ns

_AT_LEAST_NS = 10 * SECOND
# Samples come several times a second.
_SAMPLED_NS = 2 * SECOND
# Signs of life are kept as the first and the last of each bucket: gaps are exact, and a share stays small.
_BUCKET_NS = 250 * MS
# An envelope that waited long enough to show a standstill; `until_ns` NEVER_NS = to the end.
WAITED = np.dtype([("stream", "u2"), ("seq", "u4"), ("partition", "i2"), ("due_ns", "i8"), ("until_ns", "i8")])


@dataclass(frozen=True, slots=True)
class Idle:
    """`life` by input partition: times of new results, ascending. `waited` has dtype WAITED."""

    life: Mapping[int, np.ndarray]
    waited: np.ndarray


def limit_ns(case: Case) -> int:
    """How long a partition may stand still."""
    return max(case.run.limit_ns, _AT_LEAST_NS, case.run.max_idle_ns)


def idle(case: Case, envelopes: Rows, owes: np.ndarray) -> Idle:
    """What one share knows about standstills; `owes` masks the envelopes that count."""
    logged = envelopes["in_offset"] >= 0
    owes = owes & logged
    until = result_ns(envelopes)
    # Whoever resolves something lives, whether it was owed or not.
    came = logged & (until < NEVER_NS)
    where = envelopes["in_partition"][came]
    times = until[came]
    life = {int(partition): _thin(np.sort(times[where == partition])) for partition in _distinct(where)}
    # Seen by the fresh read only: when it came is not known, so it shows nothing.
    late = np.flatnonzero(owes & (until - envelopes["due_ns"] > limit_ns(case)))
    late = late[~(resolved(envelopes[late]) & (until[late] == NEVER_NS))]
    kept = np.zeros(len(late), WAITED)
    kept["partition"], kept["until_ns"] = envelopes["in_partition"][late], until[late]
    for name in ("stream", "seq", "due_ns"):
        kept[name] = envelopes[name][late]
    return Idle(life, kept)


def join(a: Idle, b: Idle) -> Idle:
    """What two shares know."""
    none = np.zeros(0, np.int64)
    life = {n: np.sort(np.concatenate((a.life.get(n, none), b.life.get(n, none)))) for n in {*a.life, *b.life}}
    return Idle(life, np.concatenate((a.waited, b.waited)))


def find(case: Case, known: Idle) -> np.ndarray:
    """The envelopes (dtype FOUND) that waited through a standstill."""
    stuck = np.zeros(len(known.waited), bool)
    for partition in np.unique(known.waited["partition"]):
        own = known.waited["partition"] == partition
        rows = known.waited[own]
        life = known.life.get(int(partition), np.zeros(0, np.int64))
        hit = np.zeros(len(rows), bool)
        for from_ns, until_ns in _still(case, int(partition), life, int(rows["due_ns"].min())):
            hit |= (np.maximum(rows["due_ns"], from_ns) + limit_ns(case) < until_ns) & (rows["until_ns"] >= until_ns)
        stuck[own] = hit
    rows = known.waited[stuck]
    told = found.of_envelopes(rows, rows["due_ns"], 3)
    return told


def _still(case: Case, partition: int, life: np.ndarray, oldest_ns: int) -> list[tuple[int, int]]:
    """Spans without a sign of life and without a fault, longer than the limit, in which the tap could have seen one."""
    progress = case.progress
    own = progress[case.on_topics(progress, Role.INPUT) & (progress["partition"] == partition)]
    own = own[np.argsort(own["t_ns"], kind="stable")]
    if not len(own):
        return []
    end_ns = int(own["t_ns"][-1])
    reached = np.maximum.accumulate(own["committed"])
    advances = own["t_ns"][1:][reached[1:] > reached[:-1]]
    signs = np.unique(np.concatenate((life, advances, [oldest_ns, end_ns])))
    signs = signs[(signs >= oldest_ns) & (signs <= end_ns)]
    spans: list[tuple[int, int]] = []
    # A sign that was seen late may have come as early as the stall that it falls into began.
    came = signs - stalled_ns(case.stalls, signs)
    for index in np.flatnonzero(came[1:] - signs[:-1] > limit_ns(case)):
        spans.extend(_without_faults(case, int(signs[index]), int(came[index + 1])))
    return spans


def _without_faults(case: Case, from_ns: int, until_ns: int) -> list[tuple[int, int]]:
    broken = merge_spans(np.concatenate((case.trouble_spans(), unobserved(case))))
    free: list[tuple[int, int]] = []
    for start, end in broken:
        if end > from_ns and start < until_ns:
            free.append((from_ns, int(start)))
            from_ns = max(from_ns, int(end))
    free.append((from_ns, until_ns))
    return [(start, end) for start, end in free if end - start > limit_ns(case)]


def unobserved(case: Case) -> np.ndarray:
    """Spans in which something may have moved unseen, for the tap reads and samples: its long stalls, and gaps between
    samples of the commits that are longer than their period explains.

    What came in a short stall it saw right after: were these left out too, a busy machine, late by a moment many times
    a second, would show no standstill at all.
    """
    long = case.stalls[case.stalls[:, 1] - case.stalls[:, 0] > _SAMPLED_NS]
    times = np.unique(case.progress["t_ns"])
    gaps = np.flatnonzero(np.diff(times) > _SAMPLED_NS)
    unsampled = np.stack([times[gaps], times[gaps + 1]], axis=1).astype(np.int64)
    return np.concatenate((long, unsampled))


def _distinct(partitions: np.ndarray) -> np.ndarray:
    """The different partition numbers (none negative) without sorting."""
    return np.flatnonzero(np.bincount(partitions)) if len(partitions) else partitions


def _thin(times: np.ndarray) -> np.ndarray:
    if not len(times):
        return times
    bucket = times // _BUCKET_NS
    edge = bucket[1:] != bucket[:-1]
    return times[np.concatenate(([True], edge)) | np.concatenate((edge, [True]))]
