"""The generator's open-loop schedule: which envelopes are due, and how far the journal has promised that they may go.

Due times are fixed when a segment comes in and never move. Nothing is handed out beyond the durable watermark.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from chaosd.experiment.plan import Segment, expand


class Due(NamedTuple):
    """One envelope that is due."""

    stream: int
    seq: int
    due_ns: int
    kind: int
    twice: int = 0


@dataclass(slots=True)
class _Piece:
    segment: Segment
    rows: list[tuple[int, int, int, int, int]]
    position: int = 0


class Schedule:
    """Segments in the order they came. `watermark` is the global index up to which (exclusive) may be sent."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._pieces: deque[_Piece] = deque()
        self.watermark = 0
        self.finished: deque[int] = deque()  # indices of segments that were handed out whole

    def add(self, segment: Segment) -> None:
        """Take in a segment."""
        if not segment.count:
            self.finished.append(segment.index)
            return
        self._pieces.append(_Piece(segment, expand(segment, self._seed).tolist()))

    def clear(self) -> None:
        """Forget what was not handed out."""
        self._pieces.clear()

    @property
    def empty(self) -> bool:
        """Whether everything was handed out."""
        return not self._pieces

    def next_due_ns(self) -> int | None:
        """When the next envelope is due; None when there is none."""
        piece = self._pieces[0] if self._pieces else None
        return piece.rows[piece.position][2] if piece else None

    def due(self, now_ns: int) -> Iterator[Due]:
        """Hand out, in order, what is due and allowed. Stops at the watermark."""
        while self._pieces:
            piece = self._pieces[0]
            rows, first = piece.rows, piece.segment.first
            while piece.position < len(rows):
                row = rows[piece.position]
                if row[2] > now_ns or first + piece.position >= self.watermark:
                    return
                piece.position += 1
                yield Due._make(row)
                if not self._pieces or self._pieces[0] is not piece:  # cleared meanwhile
                    return
            self._pieces.popleft()
            self.finished.append(piece.segment.index)

    def planned_until(self, until_ns: int) -> int:
        """The global index (exclusive) of what is due up to `until_ns`; the watermark if that is higher."""
        upto = self.watermark
        for piece in self._pieces:
            segment = piece.segment
            if segment.start_ns > until_ns:
                break
            count = min(segment.count, (until_ns - segment.start_ns) // max(segment.interval_ns, 1) + 1)
            upto = max(upto, segment.first + count)
        return upto
