"""A dead letter that is sent back gives its result, once, and does not come back.

BAD-REPLAY  the record of a dead letter was sent again after the heal, and its envelope has no result though the drain
            of its input partition is proved, or more results than one, or another dead letter beside those that were
            replayed: then it went round for nothing

Judged only where the experiment says `replay: dlq`. Where no letter was there to be sent back nothing was shown:
`nothing_replayed`, INCONCLUSIVE; where a result may still come: `replay_open`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaosd.journal.model import Partition
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import found
from chaosd.verification.case import Case
from chaosd.verification.obligations import drained
from chaosd.verification.verifier import Verifier

ANOMALIES = ("BAD-REPLAY",)
HOPS = {
    1: "sent again, and no result came of it",
    2: "sent again, and its result came more than once",
    3: "sent again, and it came back as a dead letter",
}


@dataclass(frozen=True, slots=True)
class Partial:
    """`replayed` counts envelopes that were sent again, `open` those whose result may still come."""

    findings: found.Findings
    replayed: int
    open: int


def applies(case: Case) -> bool:
    """Whether a replay is in the experiment."""
    return case.run.replayed is not None


def fold(case: Case, partition: Partition) -> Partial:
    """Compare what came of each envelope with how often it was replayed."""
    rows = partition.envelopes[partition.envelopes["replayed"] > 0]
    back = rows["n_dlq"] > rows["replayed"]
    often = rows["n_output"] > 1
    silent = ~back & (rows["n_output"] == 0)
    absent = silent & drained(case, rows)
    hop = np.select([back, often, absent], [3, 2, 1], 0)
    wrong = rows[hop > 0]
    told = found.of_envelopes(wrong, wrong["due_ns"], hop[hop > 0])
    if case.run.expect.loss == "not_judged":  # as of a pipeline that need not answer everything
        told["allowed"] = told["hop"] == 1
    return Partial({"BAD-REPLAY": told}, len(rows), int((silent & ~absent).sum()))


def merge(a: Partial, b: Partial) -> Partial:
    """Join two shares."""
    return Partial(found.join(a.findings, b.findings), a.replayed + b.replayed, a.open + b.open)


def conclude(case: Case, partial: Partial) -> Verdict:
    """FAIL for a replay that did not do what it is for; INCONCLUSIVE where that was not seen."""
    failing = found.failing(partial.findings, ANOMALIES)
    nothing = () if partial.replayed else ("nothing_replayed",)
    unsure = (*nothing, *(("replay_open",) if partial.open else ()))
    return Verdict(
        verifier="replays",
        grade=Grade.FAIL if failing else Grade.INCONCLUSIVE if unsure else Grade.PASS,
        reasons=(*failing, *unsure),
        counts=found.counts(partial.findings, ANOMALIES),
        witnesses=found.witnesses(case, partial.findings, ANOMALIES, HOPS),
        details={"replayed": partial.replayed},
    )


verifier = Verifier("replays", ANOMALIES, fold, merge, conclude, applies)
