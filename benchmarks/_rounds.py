"""Shared by the benchmarks: several rounds of a figure, printed as min / median / max beside the number to hold."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def show(name: str, values: Sequence[float], unit: str, hold: str) -> None:
    """One line. `hold` is the number that the project promises, as text: the figure is printed, not judged."""
    low, mid, high = min(values), statistics.median(values), max(values)
    print(f"{name:<44} {low:10.1f} {mid:10.1f} {high:10.1f} {unit:<12} hold {hold}  ({len(values)} rounds)")


def head() -> None:
    """The line above."""
    print(f"{'':<44} {'min':>10} {'median':>10} {'max':>10}")
