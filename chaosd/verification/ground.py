"""The ground that anomalies are planted in: a copy of a share's rows, and the free places of it.

Plants are disjoint: no envelope carries two. Rows of the baseline and fences are never touched: the first would move
what recovery is compared with, the second would take back the proof of the drain.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chaosd.journal.columns import NO_STREAM, Role
from chaosd.journal.join import coordinates
from chaosd.journal.model import ENVELOPES, JOINED, Partition
from chaosd.journal.table import Rows, Table
from chaosd.verification.case import Case
from chaosd.verification.found import place
from chaosd.verification.obligations import drained, owed, result_ns, voided

PER_CLASS = 20
# Planted records lie above every real offset, and still fit into a sortable number.
_BEYOND = 1 << 39
# What plants write.
_SIGHTINGS = ("content", "deviation", "offset")
_COUNTS = ("n_output", "n_dlq", "live_output", "live_dlq", "fresh_output", "fresh_dlq")
_TIMES = ("first_output_ns", "last_output_ns", "first_dlq_ns")
_ROWS = (*_COUNTS, *_TIMES, "outcome", "acked_ns", "in_offset", "committed")
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
# Of an index into a share's sightings, beside that of an envelope.
_INDEX_BITS = 32
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Planting:
    """What a verifier must name: an identity, or (stream -1) a record by its place."""

    anomaly: str
    stream: int
    seq: int
    place: str = ""


class Share:
    """A share under work: copies of its rows that plants may write. What is costly waits until it is asked for."""

    def __init__(self, case: Case, partition: Partition) -> None:
        self._case = case
        self.read = Table.of(partition.sightings)
        self.rows = Table.of(partition.envelopes).copy(*_ROWS)
        self.sightings = self.read.copy(*_SIGHTINGS)
        self.dropped = np.zeros(len(self.read), bool)  # sightings that are gone
        self.moved = np.zeros(len(self.read), bool)  # and those with another place
        self.added: list[np.ndarray] = []
        self.count: Counter[str] = Counter()

    @functools.cached_property
    def _of_results(self) -> np.ndarray:
        """Mask of the sightings of results (not inputs) of envelopes."""
        found = self._case.on_topics(self.read, Role.OUTPUT, Role.DLQ, Role.TABLE)
        return np.asarray(found & (self.read["row"] >= 0))

    @functools.cached_property
    def free(self) -> np.ndarray:
        """Mask of the envelopes that may still be used: at first those with exactly their one result, read live and
        afresh, for which absence would be loss.
        """
        rows = self.rows
        plain = (rows["kind"] == 0) & (rows["n_output"] == 1) & (rows["n_dlq"] == 0)
        poison = (rows["kind"] > 0) & (rows["n_dlq"] == 1) & (rows["n_output"] == 0)
        twice = (plain & (rows["live_output"] > 0) & (rows["fresh_output"] > 0)) | (
            poison & (rows["live_dlq"] > 0) & (rows["fresh_dlq"] > 0)
        )
        proved = drained(self._case, rows) & ~voided(self._case, rows, if_lost=True) & (rows["in_offset"] >= 0)
        fixed = self._case.phase_mask(rows, "baseline", "fence")
        return np.asarray(owed(rows) & twice & proved & ~fixed & (rows["acked_ns"] >= 0))

    @functools.cached_property
    def _results(self) -> tuple[np.ndarray, np.ndarray]:
        """(indices of sightings of results in the order of their rows, those rows)."""
        found = np.flatnonzero(self._of_results)
        # Row and index in one number: plain numbers are sorted several times as fast as an order is found.
        packed = np.sort(self.read["row"][found] << _INDEX_BITS | found)
        return packed & ((1 << _INDEX_BITS) - 1), packed >> _INDEX_BITS

    def results(self, chosen: np.ndarray) -> np.ndarray:
        """Indices of the sightings of results (not inputs) of the chosen envelopes, ascending."""
        if not len(chosen):
            return np.zeros(0, np.int64)
        results, rows = self._results
        low, high = (np.searchsorted(rows, chosen, side=side) for side in _SIDES)
        # The spans [low, high) one after the other.
        counts = high - low
        at = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        found = np.sort(results[at])
        return np.asarray(found[~self.dropped[found]])

    def drop(self, chosen: np.ndarray) -> None:
        """Take away the sightings of results of the chosen envelopes, which may be many."""
        among = np.zeros(len(self.rows) + 1, bool)  # the last one stands for sightings of no envelope
        among[chosen] = True
        self.dropped |= among[self.read["row"]] & self._of_results


class Ground:
    """Keeps account of plants over all shares of a history. `share` is the one under work, `most` how many of a class
    may be planted in one share.
    """

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self.case = case
        self.rng = rng
        self.most = PER_CLASS
        self.plantings: list[Planting] = []
        self.count: Counter[str] = Counter()
        self.share = Share(case, Partition(np.zeros(0, ENVELOPES), np.zeros(0, JOINED)))
        self._records = 0

    def till(self, partition: Partition) -> None:
        """Take a copy of the next share under work."""
        self.share = Share(self.case, partition)

    def harvest(self) -> Partition:
        """The share with its plants, sorted as every share is."""
        share = self.share
        gone = share.dropped | share.moved
        fresh = [share.sightings[share.moved & ~share.dropped].rows(), *share.added]
        made = np.concatenate(fresh, dtype=share.sightings.dtype)  # named, or numpy finds it out for each pair of them
        if not len(made):
            return Partition(share.rows, share.sightings[~gone])
        made = made[np.argsort(_places(made), kind="stable")]
        before = _after(share.read, made)
        kept = np.flatnonzero(~gone)
        at = np.searchsorted(kept, before, side="left") + np.arange(len(made))
        source = np.zeros(len(kept) + len(made), np.int64)
        old = np.ones(len(source), bool)
        old[at] = False
        source[old] = kept

        def column(name: str) -> np.ndarray:
            values = (
                share.sightings[name].take(source) if len(share.sightings) else np.zeros(len(made), made.dtype[name])
            )
            values[at] = made[name]
            return values

        return Partition(share.rows, Table(share.sightings.dtype, len(source), column))

    def left(self, name: str) -> int:
        """How many more of a class may be planted in this share."""
        return min(PER_CLASS - self.count[name], self.most - self.share.count[name])

    def choose(self, sites: np.ndarray, name: str, most: int = PER_CLASS) -> np.ndarray:
        """Indices of free envelopes to plant on, at most as many as are left, and `most`; they are used up."""
        wanted = min(self.left(name), most)
        candidates = np.flatnonzero(sites & self.share.free) if wanted > 0 and sites.any() else _NONE
        if not len(candidates):
            return _NONE
        chosen = np.sort(self.rng.choice(candidates, min(wanted, len(candidates)), replace=False))
        self.use(chosen)
        self.note(name, chosen)
        return chosen

    def use(self, chosen: np.ndarray) -> None:
        """These envelopes carry a plant or belong to one."""
        self.share.free[chosen] = False

    def note(self, name: str, chosen: np.ndarray) -> None:
        """These envelopes are what a verifier must name."""
        self._counted(name, len(chosen))
        names = (self.share.rows[column][chosen].tolist() for column in ("stream", "seq"))
        self.plantings += [Planting(name, stream, seq) for stream, seq in zip(*names, strict=True)]

    def note_stray(self, name: str, made: np.ndarray) -> None:
        """This record, which belongs to no envelope, is what a verifier must name."""
        self._counted(name, 1)
        where = place(self.case, *(int(made[column][0]) for column in ("topic", "partition", "offset")))
        self.plantings.append(Planting(name, -1, -1, where))

    def _counted(self, name: str, number: int) -> None:
        self.count[name] += number
        self.share.count[name] += number

    def clear(self, chosen: np.ndarray) -> None:
        """Take the results of these envelopes away."""
        if not len(chosen):
            return
        self.share.drop(chosen)
        for column in _COUNTS:
            self.share.rows[column][chosen] = 0
        for column in _TIMES:
            self.share.rows[column][chosen] = -1

    def record(self, role: Role, owner: int = -1) -> np.ndarray | None:
        """A new record as sighted live and afresh, of the envelope `owner` or stray; None without such a topic."""
        topics = self.case.topics(role)
        if not len(topics):
            return None
        made = np.zeros(2, self.share.sightings.dtype)
        made["topic"], made["offset"], made["final"] = topics[0], _BEYOND + self._records, (0, 1)
        made["seen_ns"], made["content"] = self.case.run.started_ns, self.rng.integers(1, 1 << 62)
        made["stream"], made["row"], made["origin_partition"], made["origin_offset"] = NO_STREAM, owner, -1, -1
        if owner >= 0:
            for column in ("stream", "seq"):
                made[column] = self.share.rows[column][owner]
            made["seen_ns"] = result_ns(self.share.rows[owner : owner + 1])[0]
        self._records += 1
        self.share.added.append(made)
        return made


def _after(sightings: Table, made: np.ndarray) -> np.ndarray:
    """Where records belong among sorted sightings, behind those at their own place: by blocks, as few are asked for."""
    found = np.zeros(len(made), np.int64)
    for block in np.unique(made[["topic", "partition"]]):
        low, high = 0, len(sightings)
        for name in ("topic", "partition"):
            column = sightings[name][low:high]
            low, high = (low + int(np.searchsorted(column, block[name], side=side)) for side in _SIDES)
        mine = (made["topic"] == block["topic"]) & (made["partition"] == block["partition"])
        found[mine] = low + np.searchsorted(_places(sightings[low:high]), _places(made[mine]), side="right")
    return found


def _places(sightings: Rows) -> np.ndarray:
    """What sightings are sorted by."""
    place = coordinates(sightings["topic"], sightings["partition"], sightings["offset"])
    return np.asarray(place | (sightings["final"] != 0))
