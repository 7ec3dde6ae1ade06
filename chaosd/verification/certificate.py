"""The mutation certificate: a run that would PASS must show that its verifiers would have noticed.

One copy of the run's own history gets many disjoint plants (plant.py), each where its class applies by definition. A
plant is noticed when the verifier names that very identity among the witnesses of its class.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chaosd.journal.model import History, Partition
from chaosd.kernel.verdict import Verdict
from chaosd.verification.case import Case
from chaosd.verification.cores import each
from chaosd.verification.ground import Planting
from chaosd.verification.hold import hold
from chaosd.verification.plant import CLASSES, Planter
from chaosd.verification.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Certificate:
    """`by_class`: (planted, noticed); classes without a site in this history are `not_applicable`. `unnoticed` are the
    verifiers that missed a plant of a class they look for.
    """

    planted: int
    noticed: int
    by_class: dict[str, tuple[int, int]]
    not_applicable: tuple[str, ...]
    unnoticed: tuple[str, ...]


def certify(case: Case, history: History, verifiers: Sequence[Verifier]) -> Certificate:
    """Plant, judge the copy, and count what was noticed. The journal's hash is the seed."""
    rng = np.random.default_rng(_seed(case.run.hash))
    case, held = hold(case, rng) or (case, None)
    planter = Planter(case, rng, held)
    shares = tuple(planter.plant(partition) for partition in history.partitions())
    plantings = planter.plantings
    open_case = case.unlimited()
    by_class: dict[str, tuple[int, int]] = {}
    unnoticed = []
    rows = sum(len(share.sightings) for share in shares)
    named = each(lambda verifier: _witnessed(open_case, shares, verifier, plantings), verifiers, rows)
    seen = {verifier.name: found for verifier, found in zip(verifiers, named, strict=True)}
    for name in CLASSES:
        own = [planting for planting in plantings if planting.anomaly == name]
        looking = [verifier for verifier in verifiers if name in verifier.anomalies]
        if not own or not looking:
            continue
        missed = {verifier.name: {p for p in own if p not in seen[verifier.name]} for verifier in looking}
        unnoticed += [verifier for verifier, plants in missed.items() if plants]
        by_class[name] = (len(own), len(own) - len(set().union(*missed.values())))
    return Certificate(
        planted=sum(planted for planted, _ in by_class.values()),
        noticed=sum(noticed for _, noticed in by_class.values()),
        by_class=by_class,
        not_applicable=tuple(name for name in CLASSES if name not in by_class),
        unnoticed=tuple(dict.fromkeys(unnoticed)),
    )


def _witnessed(
    case: Case, shares: tuple[Partition, ...], verifier: Verifier, plantings: Sequence[Planting]
) -> set[Planting]:
    """Which plants a verifier names in the copy; none if it cannot bear them."""
    try:
        verdict = _run(case, shares, verifier)
    except Exception:  # noqa: BLE001 - a verifier that breaks on anomalies notices none of them
        return set()
    by_name = {(one.anomaly, one.stream, one.seq): one for one in plantings if one.stream >= 0}
    by_place = {(one.anomaly, one.place): one for one in plantings if one.stream < 0}
    named = {by_name.get((one.anomaly, one.stream, one.seq)) for one in verdict.witnesses}
    named |= {by_place.get((one.anomaly, one.detail.removesuffix(" (allowed)"))) for one in verdict.witnesses}
    return {one for one in named if one is not None}


def _run(case: Case, shares: tuple[Partition, ...], verifier: Verifier) -> Verdict:
    partials = [verifier.fold(case, share) for share in shares]
    return verifier.conclude(case, functools.reduce(verifier.merge, partials))


def _seed(text: str) -> int:
    digits = "".join(character for character in text if character in "0123456789abcdef")[:16]
    return int(digits or "0", 16)
