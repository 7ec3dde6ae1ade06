"""Whether what a server told of itself stands in the relation that a proof asks for. Pure: rows in, an answer out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chaosd.kernel.clock import SECOND
from chaosd.kernel.proof import Proof, Relation

# What a value did by itself is no proof when it does it again: it must have stood still, or not been so, for so long.
STILL_NS = 2 * SECOND

Answer = tuple[bool, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Told:
    """The values of one gauge, in order of time, all of dtype GAUGES.

    `base`: of the time before any fault. `before`: all before the injection. `now`: inside the window in which the
    proof must stand. `healed`: the window is the one after the heal, and `now` has settled.
    """

    base: np.ndarray
    before: np.ndarray
    now: np.ndarray
    healed: bool


def holds(proof: Proof, told: Told) -> Answer:
    """Whether the proof stands, and its numbers. Without a value before and one inside the window nothing is shown."""
    before, now = told.before["value"], told.now["value"]
    if not len(before) or not len(now):
        return False, {"samples_before": len(before), "samples": len(now)}
    numbers = {
        "before": int(before[-1]),
        "lowest": int(now.min()),
        "highest": int(now.max()),
        "last": int(now[-1]),
        "samples": len(now),
    }
    return _RULES[proof.relation](proof, told), numbers


def _rises(proof: Proof, told: Told) -> bool:
    return _moves(proof.amount, told, int(told.now["value"].max()) - int(told.before["value"][-1]), 1)


def _falls(proof: Proof, told: Told) -> bool:
    return _moves(proof.amount, told, int(told.before["value"][-1]) - int(told.now["value"].min()), -1)


def _moves(amount: float, told: Told, by: int, sign: int) -> bool:
    """By the amount at least, and by more than what it did by itself in the baseline."""
    drift = 0.0
    if len(told.base) > 1:
        span_ns = int(told.base["t_ns"][-1] - told.base["t_ns"][0])
        moved = sign * int(told.base["value"][-1] - told.base["value"][0])
        drift = max(0.0, moved / max(span_ns, 1)) * int(told.now["t_ns"][-1] - told.before["t_ns"][-1])
    return by >= amount and by > drift


def _at_least(proof: Proof, told: Told) -> bool:
    return _bounded(told, told.before["value"] >= proof.amount, told.now["value"] >= proof.amount)


def _at_most(proof: Proof, told: Told) -> bool:
    return _bounded(told, told.before["value"] <= proof.amount, told.now["value"] <= proof.amount)


def _bounded(told: Told, before: np.ndarray, now: np.ndarray) -> bool:
    if told.healed:
        return bool(now.all())
    # What comes and goes by itself is not the fault's doing.
    return bool(now.any() and not before[_recent(told)].any())


def _recent(told: Told) -> np.ndarray:
    return np.asarray(told.before["t_ns"] >= told.before["t_ns"][-1] - STILL_NS)


def _back(proof: Proof, told: Told) -> bool:
    known = (told.base if len(told.base) else told.before)["value"]
    now = told.now["value"]
    return bool((now >= known.min()).all() and (now <= known.max()).all())


def _changed(proof: Proof, told: Told) -> bool:
    recent = told.before["value"][_recent(told)]
    return bool((recent == recent[-1]).all() and (told.now["value"] != recent[-1]).any())


_RULES: dict[Relation, Callable[[Proof, Told], bool]] = {
    Relation.RISES_BY: _rises,
    Relation.FALLS_BY: _falls,
    Relation.AT_LEAST: _at_least,
    Relation.AT_MOST: _at_most,
    Relation.BACK_TO_BASELINE: _back,
    Relation.CHANGED: _changed,
}
