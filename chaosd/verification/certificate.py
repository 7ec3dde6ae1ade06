"""The mutation certificate: a run that would PASS must show that its verifiers would have noticed.

A copy of the run's own history gets many disjoint plants (plant.py), each where its class applies by definition. A
plant is noticed when the verifier names that very identity among the witnesses of its class.

The copy of a large history is planted in few of its shares. Those are folded again; of the others the verifier's own
folds are taken, for a fold of the same share is the same. All of them are merged and judged anew.

Planting takes one core, and so does the verifier that concludes last: a judgement makes the copy meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from chaosd.journal.model import History, Partition
from chaosd.verification.case import Case
from chaosd.verification.cores import Folds, conclude, crew, fold
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


class Copy:
    """The planted copy of a history, made share by share and folded by `pool` meanwhile. The run's hash is the seed.

    `known` is what the verifiers folded of the original: a share in which nothing is planted is not folded again.
    """

    def __init__(
        self,
        pool: Executor,
        case: Case,
        shares: Sequence[Partition],
        verifiers: Sequence[Verifier],
        known: Sequence[Folds],
    ) -> None:
        rng = np.random.default_rng(_seed(case.run.hash))
        case, held = hold(case, rng) or (case, None)
        self._pool, self._verifiers, self._case = pool, verifiers, case.unlimited()
        self._planter = Planter(case, rng, held)
        self._copies = self._planter.copies(shares)
        self._folds = [list(of_shares) for of_shares in known]

    def plant(self) -> bool:
        """Plant in one more share and have it folded; False when there is none left."""
        number, copy = next(self._copies, (-1, None))
        if copy is None:
            return False
        for of_shares, again in zip(self._folds, fold(self._pool, self._case, [copy], self._verifiers), strict=True):
            of_shares[number] = again[0]
        return True

    def judge(self) -> Certificate:
        """Plant what is left, let every verifier conclude, and count what was noticed."""
        while self.plant():
            pass
        plantings = self._planter.plantings
        named = self._pool.map(functools.partial(_witnessed, self._case, plantings), self._verifiers, self._folds)
        seen = {verifier.name: found for verifier, found in zip(self._verifiers, named, strict=True)}
        return _counted(plantings, self._verifiers, seen)


def certify(
    case: Case, history: History, verifiers: Sequence[Verifier], known: Sequence[Folds] | None = None
) -> Certificate:
    """The certificate of a history; what is not `known` of it is folded first."""
    shares = tuple(history.partitions())
    with crew(sum(len(share.sightings) for share in shares)) as pool:
        return Copy(pool, case, shares, verifiers, known or fold(pool, case, shares, verifiers)).judge()


def _counted(
    plantings: Sequence[Planting], verifiers: Sequence[Verifier], seen: Mapping[str, set[Planting]]
) -> Certificate:
    by_class: dict[str, tuple[int, int]] = {}
    unnoticed = []
    sought = {name for verifier in verifiers for name in verifier.anomalies}
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
        not_applicable=tuple(name for name in CLASSES if name in sought and name not in by_class),
        unnoticed=tuple(dict.fromkeys(unnoticed)),
    )


def _witnessed(case: Case, plantings: Sequence[Planting], verifier: Verifier, folds: Folds) -> set[Planting]:
    """Which plants a verifier names in the copy; none if it cannot bear them."""
    try:
        verdict = conclude(case, verifier, folds)
    except Exception:  # noqa: BLE001 - a verifier that breaks on anomalies notices none of them
        return set()
    by_name = {(one.anomaly, one.stream, one.seq): one for one in plantings if one.stream >= 0}
    by_place = {(one.anomaly, one.place): one for one in plantings if one.stream < 0}
    named = {by_name.get((one.anomaly, one.stream, one.seq)) for one in verdict.witnesses}
    named |= {by_place.get((one.anomaly, one.detail.removesuffix(" (allowed)"))) for one in verdict.witnesses}
    return {one for one in named if one is not None}


def _seed(text: str) -> int:
    digits = "".join(character for character in text if character in "0123456789abcdef")[:16]
    return int(digits or "0", 16)
