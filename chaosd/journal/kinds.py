"""Outputs of several kinds: an envelope has its result when it has all of them. Vectorised, as in join.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chaosd.journal.columns import Role
from chaosd.journal.join import coordinates
from chaosd.journal.model import TopicFacts
from chaosd.journal.table import Rows

_MOST = 0xFFFF
_NONE = -1


def whole(envelopes: Rows, joined: Rows, topics: Sequence[TopicFacts], owed: Sequence[int]) -> None:
    """Rewrite the columns of outputs: whole sets of what is owed instead of records. Nothing where one output is owed.

    `owed` counts the outputs of each kind. An output of no kind belongs to no set: it is CORRUPT, and no result.
    """
    if not owed:
        return
    size = len(envelopes)
    outputs = [n for n, topic in enumerate(topics) if topic.role is Role.OUTPUT]
    rows = joined[(joined["row"] >= 0) & np.isin(joined["topic"], outputs) & (joined["type"] < len(owed))]
    live = rows["final"] == 0
    sets = {"n_output": np.ones(len(rows), bool), "live_output": live, "fresh_output": ~live}
    for column, chosen in sets.items():
        counts = [_count(rows[chosen & (rows["type"] == kind)], size) for kind in range(len(owed))]
        # One more than owed of any kind is a duplicate, even beside a kind that is not there at all.
        most = np.max([np.maximum(count - few, 0) for count, few in zip(counts, owed, strict=True)], axis=0)
        there = np.all([count >= few for count, few in zip(counts, owed, strict=True)], axis=0)
        envelopes[column] = np.where(there, np.minimum(1 + most, _MOST), 0)
        if column == "n_output":
            envelopes["n_more"] = np.minimum(most, _MOST)
    times = [_nth(rows[live & (rows["type"] == kind)], few, size) for kind, few in enumerate(owed)]
    envelopes["first_output_ns"] = np.where(np.min(times, axis=0) == _NONE, _NONE, np.max(times, axis=0))


def _distinct(rows: Rows) -> np.ndarray:
    """One row for each record of each envelope, the one that was seen first; `rows` is sorted by coordinates."""
    place = coordinates(rows["topic"], rows["partition"], rows["offset"])
    order = np.lexsort((rows["seen_ns"], rows["row"], place))
    rows, place = rows[order], place[order]
    new = np.ones(len(rows), bool)
    new[1:] = (place[1:] != place[:-1]) | (rows["row"][1:] != rows["row"][:-1])
    return np.asarray(rows[new])


def _count(rows: Rows, size: int) -> np.ndarray:
    return np.bincount(_distinct(rows)["row"], minlength=size)


def _nth(rows: Rows, nth: int, size: int) -> np.ndarray:
    """When the nth record of each envelope was seen, -1 where there are not so many."""
    rows = _distinct(rows)
    rows = rows[np.lexsort((rows["seen_ns"], rows["row"]))]
    starts = np.searchsorted(rows["row"], rows["row"])
    here = np.arange(len(rows)) - starts == nth - 1
    seen = np.full(size, _NONE, np.int64)
    seen[rows["row"][here]] = rows["seen_ns"][here]
    return seen
