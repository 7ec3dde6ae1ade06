"""The envelopes whose waiting time the recovery is judged by, folded into rows, and the curves over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaosd.journal.columns import Outcome
from chaosd.journal.table import Rows, Table
from chaosd.verification.age import Age, age
from chaosd.verification.baseline import KINDS
from chaosd.verification.case import NEVER_NS, Case
from chaosd.verification.latency import Spans, spans
from chaosd.verification.missing import missing
from chaosd.verification.obligations import owed, voided

# `kind` indexes baseline.KINDS, `phase` is one of the constants below.
WAITING = np.dtype(
    [
        ("stream", "u2"),
        ("seq", "u4"),
        ("kind", "u1"),
        ("phase", "u1"),
        ("due_ns", "i8"),
        ("accepted_ns", "i8"),
        ("until_low_ns", "i8"),
        ("until_high_ns", "i8"),
    ]
)
BEFORE, BURST, BASELINE, LATER = range(4)


@dataclass(frozen=True, slots=True)
class Waiting:
    """`rows` (dtype WAITING) of envelopes that owe a result; `unaccepted` due times of those the broker never took."""

    rows: Table
    unaccepted: np.ndarray


def waiting(case: Case, envelopes: Rows) -> Waiting:
    """One share's rows. LOST and VOIDED envelopes are left out: other verifiers judge them. Fences are no traffic.

    A send that may be in the log counts in the upper age alone, until the log was read.
    """
    traffic = ~case.phase_mask(envelopes, "fence")
    void = voided(case, envelopes)
    lost = missing(case, envelopes)
    later = case.phase_mask(envelopes, "baseline", "faults", "tail")
    unaccepted = envelopes["due_ns"][traffic & later & (envelopes["outcome"] != Outcome.ACKED)]
    rows = _rows(case, envelopes[traffic & owed(envelopes) & ~void & ~lost])
    if not case.run.fresh_complete:
        unsure = _rows(case, envelopes[traffic & (envelopes["outcome"] == Outcome.INDETERMINATE)])
        unsure = unsure[unsure["phase"] == LATER]
        for name in ("accepted_ns", "until_low_ns"):
            unsure[name] = unsure["due_ns"]
        rows = rows.join(unsure)
    return Waiting(rows, unaccepted)


def _rows(case: Case, kept: Rows) -> Table:
    times = spans(case, kept)
    rows = Table.zeros(len(kept), WAITING)
    rows["stream"], rows["seq"], rows["kind"] = kept["stream"], kept["seq"], kept["kind"] > 0
    phase = np.full(len(kept), BEFORE, np.uint8)
    for number, names in ((BURST, ("burst",)), (BASELINE, ("baseline",)), (LATER, ("faults", "tail"))):
        phase[case.phase_mask(kept, *names)] = number
    rows["phase"] = phase
    rows["due_ns"], rows["accepted_ns"] = times.due_ns, times.accepted_ns
    rows["until_low_ns"], rows["until_high_ns"] = times.until_low_ns, times.until_high_ns
    return rows


def join(a: Waiting, b: Waiting) -> Waiting:
    """What two shares know."""
    return Waiting(a.rows.join(b.rows), np.concatenate((a.unaccepted, b.unaccepted)))


def in_order(known: Waiting) -> Waiting:
    """The same, sorted by due time and identity, however it was merged. Verifiers stored with older runs ask for it."""
    rows = known.rows
    order = np.lexsort((rows["seq"], rows["stream"], rows["due_ns"]))
    return Waiting(rows[order], np.sort(known.unaccepted))


def times(rows: Rows) -> Spans:
    """The waiting times of rows."""
    return Spans(rows["due_ns"], rows["accepted_ns"], rows["until_low_ns"], rows["until_high_ns"])


def by_kind(rows: Table) -> dict[str, Table]:
    """Rows of outputs, rows of dead letters."""
    if not rows["kind"].any():  # nothing to sort out
        return dict(zip(KINDS, (rows, rows[:0]), strict=True))
    return {name: rows[rows["kind"] == number] for number, name in enumerate(KINDS)}


def low_age(rows: Rows, seen_until_ns: int) -> Age:
    """The least age that agrees with what was seen: waiting from acceptance; who never came waited as long as was
    looked.
    """
    until = np.where(rows["until_low_ns"] >= NEVER_NS, seen_until_ns, rows["until_low_ns"])
    return age(rows["accepted_ns"], until)


def high_age(rows: Rows) -> Age:
    """The largest age that agrees with what was seen: waiting from the due time, for ever if it never came."""
    return age(rows["due_ns"], rows["until_high_ns"])


def low_longer(rows: Table, than_ns: int) -> Table:
    """Those that may have waited longer by their least waiting time.

    While the age of the oldest is above that, the oldest is one of them: `Age.above` of a threshold as high is the same
    as that of all rows, and few of them are left to be sorted.
    """
    return rows[np.asarray(rows["until_low_ns"] - rows["accepted_ns"] > than_ns)]


def high_longer(rows: Table, than_ns: int) -> Table:
    """The same by their largest waiting time."""
    return rows[np.asarray(rows["until_high_ns"] - rows["due_ns"] > than_ns)]


def oldest_at(rows: Rows, seen_until_ns: int, time_ns: int) -> int:
    """Which row waits the longest at a time by its least age, the first of its stream among equals; -1 if none does."""
    until = rows["until_low_ns"]
    waits = np.flatnonzero((rows["accepted_ns"] <= time_ns) & (until > time_ns))
    if seen_until_ns <= time_ns:  # who never came waited as long as was looked
        waits = waits[until[waits] < NEVER_NS]
    if not len(waits):
        return -1
    own = rows[waits]
    return int(waits[np.lexsort((own["seq"], own["stream"], own["due_ns"], own["accepted_ns"]))[0]])


def observed(case: Case, rows: Rows) -> tuple[int, int]:
    """(end of the traffic, end of looking): the schedule's end, but not beyond the last sign of the tap's life."""
    planned = max(
        (s.start_ns + s.count * s.interval_ns for s in case.run.segments if s.phase != "fence"),
        default=case.run.started_ns,
    )
    seen = rows["until_high_ns"]
    if len(seen) and seen.max() >= NEVER_NS:
        seen = seen[seen < NEVER_NS]
    looked = max(
        int(seen.max()) if len(seen) else case.run.started_ns,
        int(case.progress["t_ns"].max()) if len(case.progress) else case.run.started_ns,
    )
    return min(planned, looked), looked
