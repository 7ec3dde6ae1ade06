"""What each envelope owes, and whether it came: masks and times over `Partition.envelopes`.

An ordinary envelope (kind 0) owes one output, a spoiled one a SYSTEM_ERROR on the dead letter topic. It owes once the
broker has it: the reader turns an INDETERMINATE send that is in the input log into an ACKED one.
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.columns import Outcome, Role
from chaosd.journal.model import Deletion, RunFacts
from chaosd.journal.table import Rows
from chaosd.verification.case import NEVER_NS, Case, committed_ns, overlaps


def owed(envelopes: Rows) -> np.ndarray:
    """Which envelopes the broker has, so that their result must come."""
    return np.asarray(envelopes["outcome"] == Outcome.ACKED)


def resolved(envelopes: Rows) -> np.ndarray:
    """Which have their result. An ordinary envelope that ended in the dead letter topic is accounted for too: whether
    it may end there is for the verifier of system errors to say.
    """
    in_dlq = envelopes["n_dlq"] > 0
    return np.asarray(in_dlq | ((envelopes["kind"] == 0) & (envelopes["n_output"] > 0)))


def result_ns(envelopes: Rows) -> np.ndarray:
    """When the tap first saw the expected result live; NEVER_NS if it did not.

    Who ended as a dead letter and was sent again is resolved by the letter: a replay comes when the traffic is over.
    """
    output, dlq = envelopes["first_output_ns"], envelopes["first_dlq_ns"]
    seen = np.where((envelopes["kind"] == 0) & (output >= 0) & (envelopes["replayed"] == 0), output, dlq)
    return np.where(seen >= 0, seen, NEVER_NS)


def sent_ns(envelopes: Rows) -> np.ndarray:
    """When each was handed to the client; its due time where that is not known."""
    return np.where(envelopes["sent_ns"] >= 0, envelopes["sent_ns"], envelopes["due_ns"])


def voided(case: Case, envelopes: Rows, *, if_lost: bool = False) -> np.ndarray:
    """Which envelopes were under way while a fault was in force that takes the obligation away.

    Under way until its result; one that has none until the group committed past it, and the recovery limit longer, for
    what works on may sit in a store. What was lost before that was lost without the fault. `if_lost` asks it of each
    as if its result had not come.

    A deleted topic takes what was in it and had not been seen. Nothing goes into it once it is gone, so what was sent
    later is owed; and while the tap stood still right before, it saw nothing of what went in. An output topic takes
    ordinary envelopes' results; in a dead letter topic there may be any's.
    """
    faults = [
        (injection.call_ns, injection.clear_high_ns if injection.clear_high_ns >= 0 else NEVER_NS)
        for injection in case.run.injections
        if "results" in injection.voids and injection.call_ns >= 0
    ]
    if not faults and not case.run.deletions:
        return np.zeros(len(envelopes), bool)
    seen_ns = np.full(len(envelopes), NEVER_NS) if if_lost else result_ns(envelopes)
    until = np.minimum(committed_ns(case, envelopes) + case.run.limit_ns, seen_ns)
    from_ns = sent_ns(envelopes)
    found = overlaps(from_ns, until, np.array(faults, np.int64).reshape(-1, 2))
    for deletion in case.run.deletions:
        taken = overlaps(from_ns, until, np.array([_unseen(case, deletion)], np.int64))
        taken &= seen_ns >= deletion.call_ns  # what was seen in spite of a standstill was not taken
        found |= taken & ((envelopes["kind"] == 0) | (deletion.role is Role.DLQ))
    return np.asarray(found)


def _unseen(case: Case, deletion: Deletion) -> tuple[int, int]:
    """From when on what went into a topic may not have been seen before it was deleted, until it was gone."""
    since = deletion.call_ns - case.run.limit_ns
    stalls = case.stalls[(case.stalls[:, 0] < deletion.call_ns) & (case.stalls[:, 1] >= since)]
    gone_ns = deletion.returned_ns if deletion.returned_ns >= 0 else NEVER_NS
    return min([deletion.call_ns, *stalls[:, 0].tolist()]), gone_ns


def in_flight_during_faults(case: Case, envelopes: Rows) -> np.ndarray:
    """Which were sent, and not yet committed past, at some time in [inject, clear + recovery limit] of a fault.

    A failure of the stack itself counts as a fault: what is handed out twice because of it is nobody's mistake.
    """
    until = committed_ns(case, envelopes)
    if not (case.progress["committed"] >= 0).any():  # no commits are known: until the last result
        until = np.maximum(envelopes["last_output_ns"], result_ns(envelopes))
    return overlaps(sent_ns(envelopes), until, case.trouble_spans(case.run.limit_ns))


def drained(case: Case, envelopes: Rows) -> np.ndarray:
    """For which envelopes the drain of their input partition is proved, so that absence may be called loss."""
    return np.asarray(case.drained[envelopes["in_partition"]])


def all_drained(run: RunFacts) -> bool:
    """Whether the run proved the drain of every input partition and read everything again."""
    return bool(run.drain) and run.fresh_complete and all(facts.proved for facts in (run.drain or {}).values())
