"""The ground that anomalies are planted in: a copy of a share's rows, and the free places of it.

Plants are disjoint: no envelope carries two. Rows of the baseline and fences are never touched: the first would move
what recovery is compared with, the second would take back the proof of the drain.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from chaosd.journal.columns import NO_STREAM, Role
from chaosd.journal.join import coordinates
from chaosd.journal.model import ENVELOPES, JOINED, Partition
from chaosd.journal.table import Table
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
_ROWS = (*_COUNTS, *_TIMES, "outcome", "acked_ns", "committed")
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
# Of an index into a share's sightings, beside that of an envelope.
_INDEX_BITS = 32


@dataclass(frozen=True, slots=True)
class Planting:
    """What a verifier must name: an identity, or (stream -1) a record by its place."""

    anomaly: str
    stream: int
    seq: int
    place: str = ""


@dataclass(slots=True)
class Share:
    """A share under work. `free` masks the envelopes that may still be used, `dropped` sightings that are gone, `moved`
    those with another place.
    `results` are the indices of sightings of results in the order of their rows, which are `result_rows`.
    """

    rows: Table
    sightings: Table
    free: np.ndarray
    dropped: np.ndarray
    moved: np.ndarray
    results: np.ndarray
    result_rows: np.ndarray
    added: list[np.ndarray] = field(default_factory=list)


class Ground:
    """Keeps account of plants over all shares of a history. `share` is the one under work."""

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self.case = case
        self.rng = rng
        self.plantings: list[Planting] = []
        self.count: Counter[str] = Counter()
        self._read = Table.zeros(0, JOINED)
        self.share = Share(Table.zeros(0, ENVELOPES), self._read, *(np.zeros(0, bool),) * 5)
        self._records = 0

    def till(self, partition: Partition) -> None:
        """Take a copy of the next share under work."""
        self._read = Table.of(partition.sightings)
        rows, sightings = Table.of(partition.envelopes).copy(*_ROWS), self._read.copy(*_SIGHTINGS)
        results = np.flatnonzero((self._read["row"] >= 0) & ~self.case.on_topics(self._read, Role.INPUT))
        # Row and index in one number: plain numbers are sorted several times as fast as an order is found.
        packed = np.sort(self._read["row"][results] << _INDEX_BITS | results)
        self.share = Share(
            rows,
            sightings,
            free=self._movable(rows),
            dropped=np.zeros(len(sightings), bool),
            moved=np.zeros(len(sightings), bool),
            results=packed & ((1 << _INDEX_BITS) - 1),
            result_rows=packed >> _INDEX_BITS,
        )

    def harvest(self) -> Partition:
        """The share with its plants, sorted as every share is."""
        share = self.share
        fresh = [share.sightings[share.moved & ~share.dropped].rows(), *share.added]
        made = np.concatenate(fresh)
        made = made[
            np.argsort(coordinates(made["topic"], made["partition"], made["offset"]) | made["final"], kind="stable")
        ]
        before = np.array([_place(self._read, row) for row in made], np.int64)
        kept = np.flatnonzero(~(share.dropped | share.moved))
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

    def _movable(self, rows: Table) -> np.ndarray:
        """Envelopes with exactly their one result, read live and afresh, for which absence would be loss."""
        plain = (rows["kind"] == 0) & (rows["n_output"] == 1) & (rows["n_dlq"] == 0)
        poison = (rows["kind"] > 0) & (rows["n_dlq"] == 1) & (rows["n_output"] == 0)
        twice = (plain & (rows["live_output"] > 0) & (rows["fresh_output"] > 0)) | (
            poison & (rows["live_dlq"] > 0) & (rows["fresh_dlq"] > 0)
        )
        proved = drained(self.case, rows) & ~voided(self.case, rows, if_lost=True) & (rows["in_offset"] >= 0)
        fixed = self.case.phase_mask(rows, "baseline", "fence")
        return np.asarray(owed(rows) & twice & proved & ~fixed & (rows["acked_ns"] >= 0))

    def choose(self, sites: np.ndarray, name: str, most: int = PER_CLASS) -> np.ndarray:
        """Indices of free envelopes to plant on, at most as many as are left of `most`; they are used up."""
        candidates = np.flatnonzero(sites & self.share.free)
        wanted = min(most - self.count[name], len(candidates))
        if wanted <= 0:
            return candidates[:0]
        chosen = np.sort(self.rng.choice(candidates, wanted, replace=False))
        self.use(chosen)
        self.note(name, chosen)
        return chosen

    def use(self, chosen: np.ndarray) -> None:
        """These envelopes carry a plant or belong to one."""
        self.share.free[chosen] = False

    def note(self, name: str, chosen: np.ndarray) -> None:
        """These envelopes are what a verifier must name."""
        self.count[name] += len(chosen)
        self.plantings += [
            Planting(name, int(row["stream"]), int(row["seq"])) for row in self.share.rows[chosen].rows()
        ]

    def note_stray(self, name: str, made: np.ndarray) -> None:
        """This record, which belongs to no envelope, is what a verifier must name."""
        self.count[name] += 1
        where = place(self.case, *(int(made[column][0]) for column in ("topic", "partition", "offset")))
        self.plantings.append(Planting(name, -1, -1, where))

    def results(self, chosen: np.ndarray) -> np.ndarray:
        """Indices of the sightings of results (not inputs) of the chosen envelopes, ascending."""
        share = self.share
        low, high = (np.searchsorted(share.result_rows, chosen, side=side) for side in ("left", "right"))
        spans = [share.results[a:b] for a, b in zip(low, high, strict=True)]
        found = np.sort(np.concatenate([*spans, share.results[:0]]))
        return np.asarray(found[~share.dropped[found]])

    def clear(self, chosen: np.ndarray) -> None:
        """Take the results of these envelopes away."""
        self.share.dropped[self.results(chosen)] = True
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
            row = self.share.rows[owner]
            made["stream"], made["seq"] = row["stream"], row["seq"]
            made["seen_ns"] = result_ns(self.share.rows[owner : owner + 1])[0]
        self._records += 1
        self.share.added.append(made)
        return made


def _place(sightings: Table, row: np.void) -> int:
    """The index that a record belongs before, in sightings sorted by (topic, partition, offset, final)."""
    low, high = 0, len(sightings)
    for name in ("topic", "partition", "offset"):
        part = sightings[name][low:high]
        low, high = (low + int(np.searchsorted(part, row[name], side=side)) for side in _SIDES)
    return low + int(np.searchsorted(sightings["final"][low:high], row["final"], side="right"))
