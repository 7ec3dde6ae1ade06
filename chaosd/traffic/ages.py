"""What the tap knows while the run goes on: which envelopes have their result, and how old the oldest without one is.

For people to look at; the judge computes it anew from the journal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chaosd.experiment.plan import Segment, expand


class Ages:
    """One byte per planned envelope, in order of the global index, which is the order of the due times."""

    def __init__(self, seed: int, streams: int, results: Callable[[int], int] = lambda _: 1) -> None:
        """`results`: how many outputs an ordinary envelope of a stream gives."""
        self._results = [results(stream) for stream in range(streams)]
        self._seed = seed
        self._streams = streams
        self._due_ns = np.zeros(0, np.int64)
        self._kinds = np.zeros(0, np.uint8)
        self._done = bytearray()
        self._left: dict[int, int] = {}  # of envelopes with some of their outputs, how many are still to come
        self._oldest = 0  # everything before it is resolved
        self.resolved = 0
        self.errors = 0  # of them, dead letters of envelopes that nothing is wrong with
        self.last_new_ns = 0
        self.latency_ns_max = 0

    def add(self, segment: Segment) -> None:
        """Take in a segment; segments follow each other without a gap."""
        rows = expand(segment, self._seed)
        self._due_ns = np.concatenate((self._due_ns, rows["due_ns"]))
        self._kinds = np.concatenate((self._kinds, rows["kind"]))
        self._done.extend(bytes(len(rows)))

    def result(self, stream: int, seq: int, seen_ns: int, *, dead_letter: bool) -> None:
        """A result was read. An ordinary envelope in the dead letter topic is resolved too, if not as expected."""
        k = seq * self._streams + stream
        if not 0 <= k < len(self._done) or self._done[k] or (self._kinds[k] and not dead_letter):
            return
        if self._results[stream] > 1 and not dead_letter:
            left = self._left.pop(k, self._results[stream]) - 1
            if left:
                self._left[k] = left
                return
        self._done[k] = 1
        self.resolved += 1
        self.errors += dead_letter and not self._kinds[k]
        self.last_new_ns = seen_ns
        self.latency_ns_max = max(self.latency_ns_max, seen_ns - int(self._due_ns[k]))

    def oldest_ns(self, now_ns: int) -> int:
        """Age of the oldest due envelope without its result, 0 when there is none."""
        self._oldest = self._done.find(0, self._oldest)
        if self._oldest < 0:
            self._oldest = len(self._done)
            return 0
        return max(0, now_ns - int(self._due_ns[self._oldest]))

    def due_unresolved(self, now_ns: int) -> int:
        """How many envelopes are due and have no result."""
        due = int(np.searchsorted(self._due_ns, now_ns, side="right"))
        return due - self._done.count(1, 0, due)
