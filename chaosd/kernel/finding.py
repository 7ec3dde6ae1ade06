"""One thing found before any traffic, by the preflight or by an infrastructure check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Confidence(StrEnum):
    """HIGH blocks a run; LOW is shown."""

    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`line` counts from 1, `column` from 0 (as `ast` does); `defined_at` is `file:line` or empty."""

    path: str
    line: int
    column: int
    rule: str
    message: str
    symbol: str = ""
    defined_at: str = ""
    confidence: Confidence = Confidence.HIGH
