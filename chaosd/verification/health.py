"""Whether the stack itself stayed well: chaosd's own probes on the DIRECT side, outside faults on that part.

A part that looks to the target like a broken target's fault must not be charged to it: at least two failures in a row
over at least one second make the run's claims about absence, time and errors void (verification/reasons.py).
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.columns import Path, ProbeOutcome
from chaosd.journal.model import RunFacts, Unhealthy
from chaosd.kernel import names
from chaosd.kernel.clock import SECOND
from chaosd.verification.case import NEVER_NS, overlaps

_FAILURES = 2
_OVER_NS = SECOND
# A probe's kept connection notices only at its next use that its part was restarted.
_GRACE_NS = SECOND


def unhealthy(run: RunFacts, canaries: np.ndarray) -> tuple[Unhealthy, ...]:
    """The spans of bad health, part by part, those that the run itself noted included."""
    spans = list(run.unhealthy)
    for number, part in enumerate(run.parts):
        rows = canaries[(canaries["on"] == number) & (canaries["path"] == Path.DIRECT)]
        rows = rows[~overlaps(rows["sent_ns"], rows["done_ns"], _faults_on(run, part))]
        spans.extend(_failing(part, rows[np.argsort(rows["done_ns"], kind="stable")]))
    return tuple(spans)


def _faults_on(run: RunFacts, part: str) -> np.ndarray:
    spans = [
        (one.call_ns, one.clear_high_ns + _GRACE_NS if one.clear_high_ns >= 0 else NEVER_NS)
        for one in run.injections
        if one.call_ns >= 0 and names.touch(one.on, part)
    ]
    return np.array(spans, np.int64).reshape(-1, 2)


def _failing(part: str, rows: np.ndarray) -> list[Unhealthy]:
    bad = rows["outcome"] != ProbeOutcome.OK
    edges = np.flatnonzero(np.diff(np.concatenate(([False], bad, [False])).astype(np.int8)))
    spans = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        from_ns, until_ns = int(rows["sent_ns"][start]), int(rows["done_ns"][end - 1])
        if end - start >= _FAILURES and until_ns - from_ns >= _OVER_NS:
            spans.append(Unhealthy(part, from_ns, until_ns, int(end - start)))
    return spans
