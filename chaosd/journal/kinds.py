"""Outputs of several kinds: an envelope has its result when it has all of them. Vectorised, as in join.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chaosd.journal.columns import Role
from chaosd.journal.join import coordinates
from chaosd.journal.model import Owed, TopicFacts
from chaosd.journal.table import Rows

_MOST = 0xFFFF
_NONE = -1


def whole(envelopes: Rows, joined: Rows, topics: Sequence[TopicFacts], owed: Sequence[Owed]) -> None:
    """Rewrite the columns of outputs: whole sets of what is owed instead of records. Nothing where one output is owed.

    `owed` says for each kind how many an envelope owes, and whose. An output of no kind belongs to no set: it is
    CORRUPT, and no result. Kinds that are optional are not waited for; where all are, anything that came is the result.
    """
    if not owed:
        return
    size = len(envelopes)
    outputs = [n for n, topic in enumerate(topics) if topic.role in (Role.OUTPUT, Role.TABLE)]
    rows = joined[(joined["row"] >= 0) & np.isin(joined["topic"], outputs) & (joined["type"] < len(owed))]
    live = rows["final"] == 0
    known = [kind for kind, one in enumerate(owed) if not one.late]
    every = range(len(owed))
    owing = np.array([_owing(one, envelopes["stream"]) for one in owed])
    for column, chosen, kinds in (
        ("n_output", np.ones(len(rows), bool), every),
        ("live_output", live, known),
        ("fresh_output", ~live, every),
    ):
        counts = np.array([_count(rows[chosen & (rows["type"] == kind)], size) for kind in kinds])
        few = np.array([[owed[kind].count] for kind in kinds]) * owing[kinds]
        optional = np.array([[owed[kind].optional] for kind in kinds])
        # One more than owed of any kind is a duplicate, even beside a kind that is not there at all.
        most = np.maximum(counts - few, 0).max(axis=0)
        there = ((counts >= few) | optional).all(axis=0) & (counts > 0).any(axis=0)
        envelopes[column] = np.where(there, np.minimum(1 + most, _MOST), 0)
        if column == "n_output":
            envelopes["n_more"] = np.minimum(most, _MOST)
    came = _came([(rows[live & (rows["type"] == kind)], owed[kind], owing[kind]) for kind in known], size)
    envelopes["first_output_ns"] = np.where(envelopes["n_output"] > 0, came, _NONE)


def _owing(one: Owed, streams: np.ndarray) -> np.ndarray:
    """Which envelopes, by their streams, owe results of a kind."""
    return np.ones(len(streams), bool) if one.streams is None else np.isin(streams, one.streams)


def _came(kinds: Sequence[tuple[Rows, Owed, np.ndarray]], size: int) -> np.ndarray:
    """When the last of what is waited for was seen, or the first of all where nothing is; -1 where it was not."""
    waited = [(_nth(rows, one.count, size), owing) for rows, one, owing in kinds if not one.optional]
    if waited:
        # Every envelope waits for one of them at least: the target file holds each input to it.
        lacking = np.any([(nth == _NONE) & owing for nth, owing in waited], axis=0)
        return np.where(lacking, _NONE, np.max([np.where(owing, nth, _NONE) for nth, owing in waited], axis=0))
    first = np.array([_nth(rows, 1, size) for rows, *_ in kinds])
    least = np.where(first == _NONE, np.iinfo(np.int64).max, first).min(axis=0)
    return np.where((first == _NONE).all(axis=0), _NONE, least)


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
