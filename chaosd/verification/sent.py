"""Whether an overlay was in the traffic: what the generator handed to its client while it was in force."""

from __future__ import annotations

from typing import Any

import numpy as np

from chaosd.envelope.poison import KINDS
from chaosd.experiment.plan import expand
from chaosd.journal.model import RunFacts
from chaosd.kernel.clock import SECOND
from chaosd.kernel.proof import Proof

# Of a rate: a machine that was held up sends later, which other reasons tell of.
_RATE = 0.9
# Of a share that was drawn, in standard deviations.
_SIGMA = 4.0


def rate(sends: np.ndarray, from_ns: int, until_ns: int, proof: Proof) -> tuple[bool, dict[str, Any]]:
    """Envelopes sent a second."""
    count = int((_inside(sends, from_ns, until_ns) & (sends["copy"] == 0)).sum())
    sent_hz = count / max(1e-9, (until_ns - from_ns) / SECOND)
    return sent_hz >= _RATE * proof.amount, {"sent_hz": round(sent_hz, 1), "sent": count}


def twice(sends: np.ndarray, from_ns: int, until_ns: int, proof: Proof) -> tuple[bool, dict[str, Any]]:
    """Copies among what was sent."""
    inside = _inside(sends, from_ns, until_ns)
    whole = int((inside & (sends["copy"] == 0)).sum())
    return _share(proof, int((inside & (sends["copy"] > 0)).sum()), whole)


def poison(run: RunFacts, sends: np.ndarray, from_ns: int, until_ns: int, proof: Proof) -> tuple[bool, dict[str, Any]]:
    """Spoiled envelopes of the proof's kinds among what was sent."""
    own = sends[_inside(sends, from_ns, until_ns) & (sends["copy"] == 0)]
    wanted = [1 + KINDS.index(kind) for kind in proof.words if kind in KINDS]
    planned = [
        _identity(rows[np.isin(rows["kind"], wanted)])
        for segment in run.segments
        if segment.start_ns < until_ns and segment.start_ns + segment.count * segment.interval_ns >= from_ns
        for rows in (expand(segment, run.seed),)
    ]
    spoiled = np.concatenate([np.zeros(0, np.int64), *planned])
    return _share(proof, int(np.isin(_identity(own), spoiled).sum()), len(own))


def _share(proof: Proof, found: int, whole: int) -> tuple[bool, dict[str, Any]]:
    expected = proof.amount * whole
    least = expected - _SIGMA * np.sqrt(max(0.0, expected * (1 - proof.amount)))
    return bool(found > 0 and found >= least), {"found": found, "of": whole}


def _inside(sends: np.ndarray, from_ns: int, until_ns: int) -> np.ndarray:
    # By the due time: what was due then belongs to it, even if it was sent a little later.
    return np.asarray((sends["due_ns"] >= from_ns) & (sends["due_ns"] < until_ns))


def _identity(rows: np.ndarray) -> np.ndarray:
    return np.asarray((rows["stream"].astype(np.int64) << 32) | rows["seq"])
