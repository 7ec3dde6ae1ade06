"""What the pipeline counts of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class PipelineMetricsCollector:
    """Counters by name, and when each stage last did something."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last_activity_s: dict[str, float] = {}

    def increment_count(self, name: str, amount: int = 1) -> None:
        """Add `amount` to the counter `name`."""
        self._counts[name] += amount

    def set_last_activity_timestamp(self, stage: str, timestamp_s: float) -> None:
        """Note that `stage` was active at `timestamp_s` (seconds since the epoch)."""
        self._last_activity_s[stage] = timestamp_s

    def counts(self) -> Mapping[str, int]:
        """A copy of all counters."""
        return dict(self._counts)

    def last_activity_s(self, stage: str) -> float | None:
        """Seconds since the epoch, None when the stage was never active."""
        return self._last_activity_s.get(stage)
