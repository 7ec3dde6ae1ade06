"""A clock that stands still in spans: what is a part's own slowness is not held against the pipeline."""

from __future__ import annotations

import numpy as np

from chaosd.verification.case import merge_spans

_NEVER = np.iinfo(np.int64).max


class Halts:
    """Stands still in `spans`, rows [from, until] in any order. All times are ns, int64."""

    def __init__(self, spans: np.ndarray) -> None:
        self._spans = merge_spans(spans)

    def at(self, times_ns: np.ndarray) -> np.ndarray:
        """What it shows at these times: they themselves without all that it stood still until then."""
        from_ns, until_ns = self._spans[:, 0], self._spans[:, 1]
        stood = np.concatenate(([0], np.cumsum(until_ns - from_ns)))
        ended = np.searchsorted(until_ns, times_ns, side="right")
        start = np.append(from_ns, _NEVER)[ended]
        return np.asarray(np.minimum(times_ns, start) - stood[ended])

    def blocks(self, from_ns: np.ndarray, until_ns: np.ndarray, before_ns: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Blocks [from, until] by this clock, without those that lie as a whole in one of its spans and `before_ns`
        before it, or as long before it as it lasts: what was accepted then may have been held up by what it is about.
        """
        around = np.vstack((self._spans, [[_NEVER, _NEVER]]))[np.searchsorted(self._spans[:, 1], from_ns, side="left")]
        before = np.minimum(before_ns, around[:, 1] - around[:, 0])
        left = (from_ns < around[:, 0] - before) | (until_ns > around[:, 1])
        return self.at(from_ns[left]), self.at(until_ns[left])

    def after(self, from_ns: int, lasts_ns: int) -> int:
        """When so much time has passed on it since `from_ns`."""
        at_ns = from_ns + lasts_ns
        for start, until in self._spans[self._spans[:, 1] > from_ns].tolist():
            if start >= at_ns:
                break
            at_ns += until - max(start, from_ns)
        return at_ns
