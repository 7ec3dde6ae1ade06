"""Results that are missing by proof, records that may be them, and what follows for the bounds of the loss.

A record without identity on the run's own topics may be the result of any envelope, an output as well as a dead letter.
While there are at least as many of them as results missing by proof, none of those is called LOST or MISSING-ERROR.
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.columns import Deviation, Role
from chaosd.journal.table import Rows
from chaosd.verification import found
from chaosd.verification.case import Case
from chaosd.verification.obligations import drained, owed, resolved, voided


def missing(case: Case, envelopes: Rows) -> np.ndarray:
    """Which envelopes owe a result that is in neither read although the drain is proved for them."""
    waiting = owed(envelopes) & ~resolved(envelopes)
    if waiting.any():
        waiting &= ~voided(case, envelopes) & drained(case, envelopes)
    return np.asarray(waiting)


def unidentified(case: Case, stray: Rows) -> int:
    """How many records of results name no envelope, each coordinate counted once; `stray` is sorted by coordinates."""
    here = case.on_topics(stray, Role.OUTPUT, Role.DLQ) & ((stray["deviation"] & Deviation.UNIDENTIFIED) > 0)
    return int(found.first_of_each(stray[here], "topic", "partition", "offset").sum())


def masked(missing: int, unidentified: int) -> bool:
    """Whether every missing result may be one of the records without identity."""
    return missing <= unidentified


def bounds(missing: int, unidentified: int, unknown: int) -> dict[str, int]:
    """[proved, possible] loss of results: what no record without identity can be, and what is not seen in all."""
    return {"proved": max(0, missing - unidentified), "possible": missing + unknown}
