"""Holds one input partition still in the certificate's copy, so that STUCK and UNSEEN have a place in it.

In a run that would PASS every partition is drained. In the copy the drain of one of them is not proved, its commits end
some time before the end of looking, and everything of it that came since is taken away. Who was due early enough then
waits through a standstill (STUCK), who was due later is only not seen (UNSEEN). The other partitions stay as they are,
and carry the plants of the other classes. With a single partition, or without a stretch of time that is calm and long
enough, there is no such place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from chaosd.journal.columns import Outcome, Role
from chaosd.journal.table import Rows
from chaosd.kernel.clock import MS, SECOND
from chaosd.verification import stuck
from chaosd.verification.case import Case, overlaps
from chaosd.verification.ground import Ground
from chaosd.verification.latency import stalled_ns
from chaosd.verification.obligations import owed, resolved, result_ns

# Longer than the limit by this much: some envelopes must be due in it, and be stuck.
_LONGER_NS = 1500 * MS


@dataclass(frozen=True, slots=True)
class Held:
    """`partition` stands still from `from_ns` to `until_ns`, the end of looking; `committed` is where it stays."""

    partition: int
    from_ns: int
    until_ns: int
    committed: int

    def touches(self, rows: Rows) -> bool:
        """Whether envelopes (dtype ENVELOPES) are judged otherwise in the copy: those of the partition, and those that
        are in none.
        """
        partitions = rows["in_partition"]
        return bool(((partitions == self.partition) | (partitions == -1)).any())

    def plant(self, ground: Ground) -> None:
        """Take away what came of the partition since, and note some of each class.

        The others of it were never taken in: to wait, some must, and a witness for each would be thousands.
        """
        rows, case = ground.share.rows, ground.case
        mine = (rows["in_partition"] == self.partition) & owed(rows) & resolved(rows)
        came = result_ns(rows)
        gone = np.flatnonzero(mine & ((came >= self.from_ns) | (rows["in_offset"] >= self.committed)))
        ground.clear(gone)
        rows["committed"][gone] = 0
        traffic = gone[case.phase_mask(rows[gone], "faults", "tail")]
        waited = np.maximum(rows["due_ns"][traffic], self.from_ns) + stuck.limit_ns(case) < self.until_ns
        for name, sites in (("STUCK", traffic[waited]), ("UNSEEN", traffic[~waited])):
            most = min(ground.left(name), len(sites))
            chosen = np.sort(ground.rng.choice(sites, most, replace=False))
            ground.note(name, chosen)
            gone = np.setdiff1d(gone, chosen, assume_unique=True)
        rows["outcome"][gone], rows["in_offset"][gone] = Outcome.REJECTED, -1


def hold(case: Case, rng: np.random.Generator) -> tuple[Case, Held] | None:
    """The copy's case and what is held in it; None where there is no place."""
    run, progress = case.run, case.progress
    own = progress[case.on_topics(progress, Role.INPUT)]
    drained = np.flatnonzero(case.drained[:-1])
    if len(drained) < 2 or not len(own):
        return None
    # A tap that was held up at the very end (by the fresh read) looked until that began: the verifier counts so, too.
    last = own["t_ns"].max(keepdims=True)
    until_ns = int((last - stalled_ns(case.stalls, last))[0])
    from_ns = until_ns - stuck.limit_ns(case) - _LONGER_NS
    measured = [s.start_ns + s.count * s.interval_ns for s in run.segments if s.phase == "baseline"]
    # A second after the last trouble: what a slow recovery is planted on was due before, and is older.
    trouble = np.concatenate((case.trouble_spans(SECOND), stuck.unobserved(case)))
    if from_ns <= max(measured, default=until_ns) or overlaps(np.array([from_ns]), np.array([until_ns]), trouble)[0]:
        return None
    partition = int(rng.choice(drained))
    here = case.on_topics(progress, Role.INPUT) & (progress["partition"] == partition)
    before = progress["committed"][here & (progress["t_ns"] <= from_ns)]
    committed = int(before.max(initial=0))
    copied, proved = progress.copy(), case.drained.copy()
    copied["committed"][here] = np.minimum(copied["committed"][here], committed)
    proved[[partition, -1]] = False
    return replace(case, progress=copied, drained=proved), Held(partition, from_ns, until_ns, committed)
