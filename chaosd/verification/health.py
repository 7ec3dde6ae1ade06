"""Whether the stack itself stayed well: chaosd's own probes on the DIRECT side, outside faults on that part.

A part that looks to the target like a broken target's fault must not be charged to it: at least two failures in a row
over at least one second make the run's claims about absence, time and errors void (verification/reasons.py). Nor must
one that answers, but much later than before the faults: what waits meanwhile does not speak for a slow pipeline.
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.columns import Path, Probe, ProbeOutcome
from chaosd.journal.model import RunFacts, Unhealthy
from chaosd.kernel import names
from chaosd.kernel.clock import MS, SECOND
from chaosd.verification.case import NEVER_NS, SlowPart, overlaps
from chaosd.verification.exposure import Evidence, before_faults

_FAILURES = 2
_OVER_NS = SECOND
# A probe's kept connection notices only at its next use that its part was restarted.
_GRACE_NS = SECOND
# A second of pings, of which the median counts: one late answer is the machine's jitter.
_ANSWERS = 5
_SLOWER, _SLOWER_BY_NS = 3, 10 * MS


def unhealthy(run: RunFacts, canaries: np.ndarray) -> tuple[Unhealthy, ...]:
    """The spans of bad health, part by part, those that the run itself noted included."""
    spans = list(run.unhealthy)
    for number, part in enumerate(run.parts):
        spans.extend(_failing(part, _direct(run, canaries, number, _faults_on(run, part))))
    return tuple(spans)


def slow_parts(run: RunFacts, evidence: Evidence) -> tuple[SlowPart, ...]:
    """The spans in which parts that the target may use answered late, part by part.

    Late is a ping where the median of five, itself in the middle, is above three times that of the time before the
    faults, and above 10 ms more.
    """
    found = []
    for number, part in enumerate(run.parts):
        if _unused(evidence.exposure, number):
            continue
        faults = _faults_on(run, part)
        rows = _direct(run, evidence.canaries, number, faults)
        rows = rows[rows["probe"] == Probe.PING]
        taken = np.where(rows["outcome"] == ProbeOutcome.OK, rows["done_ns"] - rows["sent_ns"], NEVER_NS)
        before = taken[before_faults(run).of(rows["done_ns"])]
        if len(before) < _ANSWERS:
            continue
        usual_ns = _median(before)
        medians = np.median(np.lib.stride_tricks.sliding_window_view(taken, _ANSWERS), axis=1)
        # Pings before a fault on the part and pings after it are no neighbours.
        begun = np.searchsorted(np.sort(faults[:, 0]), rows["sent_ns"])
        near = begun[_ANSWERS - 1 :] == begun[: len(medians)]
        # Each median speaks for the ping in the middle.
        middle = rows[_ANSWERS // 2 :]
        for start, end in _runs(near & (medians > max(_SLOWER * usual_ns, usual_ns + _SLOWER_BY_NS))):
            from_ns, until_ns = int(middle["sent_ns"][start]), int(middle["done_ns"][end - 1])
            found.append(SlowPart(part, from_ns, until_ns, _median(medians[start:end]), usual_ns))
    return tuple(found)


def _unused(exposure: np.ndarray, number: int) -> bool:
    """Whether the target is known to have had no connection to a part at any time, be it past its proxy."""
    rows = exposure[exposure["on"] == number]
    return bool(len(rows) and (rows["proxied"] == 0).all() and (rows["direct"] == 0).all())


def _median(taken_ns: np.ndarray) -> int:
    """The lower one of two in the middle: between an answer and one that never came is no time."""
    return int(np.sort(taken_ns)[(len(taken_ns) - 1) // 2])


def _direct(run: RunFacts, canaries: np.ndarray, number: int, faults: np.ndarray) -> np.ndarray:
    """The probes of one part past the proxies, outside of `faults` (spans) on it, in order of time."""
    rows = canaries[(canaries["on"] == number) & (canaries["path"] == Path.DIRECT)]
    rows = rows[~overlaps(rows["sent_ns"], rows["done_ns"], faults)]
    return np.asarray(rows[np.argsort(rows["done_ns"], kind="stable")])


def _faults_on(run: RunFacts, part: str) -> np.ndarray:
    spans = [
        (one.call_ns, one.clear_high_ns + _GRACE_NS if one.clear_high_ns >= 0 else NEVER_NS)
        for one in run.injections
        if one.call_ns >= 0 and names.touch(one.on, part)
    ]
    return np.array(spans, np.int64).reshape(-1, 2)


def _failing(part: str, rows: np.ndarray) -> list[Unhealthy]:
    spans = []
    for start, end in _runs(rows["outcome"] != ProbeOutcome.OK):
        from_ns, until_ns = int(rows["sent_ns"][start]), int(rows["done_ns"][end - 1])
        if end - start >= _FAILURES and until_ns - from_ns >= _OVER_NS:
            spans.append(Unhealthy(part, from_ns, until_ns, int(end - start)))
    return spans


def _runs(which: np.ndarray) -> np.ndarray:
    """Rows [start, end) of what is true in a row."""
    return np.flatnonzero(np.diff(np.concatenate(([False], which, [False])).astype(np.int8))).reshape(-1, 2)
