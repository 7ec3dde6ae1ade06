"""How many envelopes and rows a judgement is about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaosd.journal.columns import Outcome
from chaosd.journal.model import History
from chaosd.verification.obligations import owed


@dataclass(frozen=True, slots=True)
class Census:
    """Counts of envelopes by outcome, of expected results, and of all rows that were judged."""

    sent: int
    acked: int
    rejected: int
    indeterminate: int
    expected_output: int
    expected_dlq: int
    rows: int


def count(history: History) -> Census:
    """Count over all shares."""
    outcomes = np.zeros(len(Outcome), np.int64)
    outputs = dead_letters = rows = 0
    for partition in history.partitions():
        envelopes = partition.envelopes
        outcomes += np.bincount(envelopes["outcome"], minlength=len(Outcome))
        owing = owed(envelopes)
        plain = int((owing & (envelopes["kind"] == 0)).sum())
        outputs += plain
        dead_letters += int(owing.sum()) - plain
        rows += len(envelopes) + len(partition.sightings)
    return Census(
        sent=int(outcomes.sum() - outcomes[Outcome.NOT_SENT]),
        acked=int(outcomes[Outcome.ACKED]),
        rejected=int(outcomes[Outcome.REJECTED]),
        indeterminate=int(outcomes[Outcome.INDETERMINATE]),
        expected_output=outputs,
        expected_dlq=dead_letters,
        rows=rows,
    )
