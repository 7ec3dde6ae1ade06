"""The value that every file of `verifiers/` exports: a pure fold over a History.

A verifier has no clock, no I/O and no logging. `fold` sees one partition (all rows of an envelope are in one), `merge`
joins two partial results, `conclude` makes the verdict. What holds for the whole run, the experiment's `expect` section
included, is in the Case.

What `fold` gives follows from the share, the facts of the run, and what the case says of the input partitions of the
envelopes in it; `merge` changes neither of its arguments. The certificate relies on both: it folds those shares
again that it changed, and joins them with what was folded of the others before.

A FAIL names what failed in `Verdict.reasons`: a class of anomaly out of `anomalies`, or a claim such as `too_slow`.
Composition takes back the FAILs whose reasons the run's circumstances void (verification/reasons.py); a FAIL without a
reason of its own is never taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chaosd.journal.model import Partition
    from chaosd.kernel.verdict import Verdict
    from chaosd.verification.case import Case


@dataclass(frozen=True, slots=True)
class Verifier:
    """`name` as in verdict.json, `anomalies` the classes it looks for; what `fold` gives is known to itself alone.

    `applies` tells whether the experiment asks for what it judges; of a run that does not, the verdict is silent. It is
    part of the verifier, so a run that was judged by one without it is judged the same again.
    """

    name: str
    anomalies: tuple[str, ...]
    fold: Callable[[Case, Partition], Any]
    merge: Callable[[Any, Any], Any]
    conclude: Callable[[Case, Any], Verdict]
    applies: Callable[[Case], bool] = lambda case: True
