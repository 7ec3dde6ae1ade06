"""What a verifier says, and what it is composed of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Grade(IntEnum):
    """PASS < INCONCLUSIVE < FAIL: composition takes the worst."""

    PASS = 0
    INCONCLUSIVE = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Witness:
    """One envelope (or record) that shows an anomaly.

    `stream` and `seq` are -1 for a record without identity; `lifeline` is its story in order of time,
    each entry `{"at_ms": float, "what": str, …}` relative to the start of the run.
    """

    anomaly: str
    stream: int
    seq: int
    detail: str = ""
    hop: str = ""
    lifeline: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one verifier over one history. `counts` names each class of anomaly it looks for."""

    verifier: str
    grade: Grade
    reasons: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    witnesses: tuple[Witness, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
