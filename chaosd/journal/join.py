"""Joins the plan with what the generator, the broker and the tap say of it: rows of ENVELOPES and JOINED.

Everything is vectorised: there is no Python loop over rows. An envelope's row is found from its identity alone, because
the plan is dense: global index k = seq * streams + stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chaosd.experiment.plan import Segment, expand
from chaosd.journal import inputs
from chaosd.journal.columns import NO_STREAM, Deviation, Outcome, Role
from chaosd.journal.model import ENVELOPES, JOINED, TopicFacts
from chaosd.journal.table import Rows, Table

# A coordinate as one sortable number: topic, partition, offset, final. Offsets up to 2^40 - 1.
_PARTITION_BITS, _OFFSET_BITS, _FINAL_BITS = 15, 40, 1
_NONE = np.iinfo(np.int64).max
_MISLEADING = int(Deviation.FOREIGN | Deviation.COORDINATES)
# The better outcome of two sendings, and of equal ones the first's: who is written last stays.
_RANKS = np.array([3, 1, 2, 0], np.uint16)
_NOT_OURS = int(Deviation.FOREIGN | Deviation.UNPLANNED)
# What nothing is known of before the records are read.
_UNKNOWN = ("sent_ns", "acked_ns", "in_partition", "in_offset", "first_output_ns", "last_output_ns", "first_dlq_ns")


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows of ENVELOPES as planned, sorted by (stream, seq), and `row_of_k`: global index → row, -1 = not planned."""

    envelopes: Table
    row_of_k: np.ndarray
    streams: int

    def rows(self, stream: np.ndarray, seq: np.ndarray) -> np.ndarray:
        """The row of each identity, -1 where it was never planned."""
        if not len(self.row_of_k):
            return np.full(len(stream), -1, np.int64)
        k = seq.astype(np.int64)
        k *= self.streams
        k += stream
        inside = (stream < self.streams) & (k < len(self.row_of_k))
        if inside.all():
            return self.row_of_k.take(k)
        return np.where(inside, self.row_of_k[np.where(inside, k, 0)], -1)


def plan(segments: Sequence[Segment], seed: int) -> Plan:
    """Expand all segments again; nothing is known of them but the plan."""
    count = sum(segment.count for segment in segments)
    parts = [expand(segment, seed) for segment in segments]
    known: dict[str, np.ndarray] = {
        name: np.concatenate([np.zeros(0, ENVELOPES[name]), *(part[name] for part in parts)])
        for name in ("stream", "seq", "due_ns", "kind")
    }
    known["k"] = np.concatenate([np.zeros(0, np.int64), *(np.arange(s.first, s.first + s.count) for s in segments)])
    known["segment"] = np.repeat([segment.index for segment in segments], [segment.count for segment in segments])
    order = np.argsort(known["stream"].astype(np.int64) << 32 | known["seq"], kind="stable")
    envelopes = Table.zeros(count, ENVELOPES)
    for name, column in known.items():
        envelopes[name] = column[order]
    for name in _UNKNOWN:
        envelopes[name] = -1
    envelopes["outcome"] = Outcome.NOT_SENT
    row_of_k = np.full(int(envelopes["k"].max()) + 1 if count else 0, -1, np.int64)
    row_of_k[envelopes["k"]] = np.arange(count)
    return Plan(envelopes, row_of_k, segments[0].streams if segments else 1)


def sends(
    plan: Plan, sends: np.ndarray, acks: np.ndarray, topics: Sequence[TopicFacts], watermark: int, *, complete: bool
) -> None:
    """Write into the plan what the generator knows of each send.

    Without a row an envelope below the watermark may have been sent. `complete`: the generator ended in order, so that
    an envelope without a row was not sent.

    A record that was sent twice is one envelope: its first sending counts, and the better one of its two outcomes.
    """
    envelopes = plan.envelopes
    if sends["copy"].any():
        sends = sends[sends["copy"] == 0]
    rank = _RANKS[acks["outcome"]] << 8 | 255 - acks["copy"].astype(np.uint16)
    if (rank[1:] < rank[:-1]).any():  # most often all of them were sent once, and taken
        acks = acks[np.argsort(rank, kind="stable")]
    if not complete:
        envelopes["outcome"][envelopes["k"] < watermark] = Outcome.INDETERMINATE
    rows, sends = _known(plan, sends)
    envelopes["sent_ns"][rows] = sends["sent_ns"]
    envelopes["outcome"][rows] = Outcome.INDETERMINATE
    rows, acks = _known(plan, acks)
    for ours, theirs in (
        ("outcome", "outcome"),
        ("acked_ns", "acked_ns"),
        ("in_offset", "offset"),
    ):
        envelopes[ours][rows] = acks[theirs]
    envelopes["in_partition"][rows] = inputs.numbers(acks["topic"], acks["partition"], topics)


def _known(plan: Plan, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, what was told of them) without what was never planned."""
    rows = plan.rows(told["stream"], told["seq"])
    known = rows >= 0
    return (rows, told) if known.all() else (rows[known], told[known])


def coordinates(topic: np.ndarray, partition: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """One sortable number for each (topic, partition, offset)."""
    # In place: of millions of rows, each array between would cost as much as the work itself.
    place: np.ndarray = topic.astype(np.int64)
    for bits, part in ((_PARTITION_BITS, partition), (_OFFSET_BITS, offset)):
        place <<= bits
        place |= part
    place <<= _FINAL_BITS
    return place


def _again(rows: Rows) -> np.ndarray:
    """Which rows, beginning with the second, have the coordinates of the one before."""
    same = rows["offset"][1:] == rows["offset"][:-1]
    for name in ("partition", "topic"):
        same &= rows[name][1:] == rows[name][:-1]
    return np.asarray(same)


def sightings(plan: Plan, seen: np.ndarray, topics: Sequence[TopicFacts]) -> Table:
    """JOINED rows, sorted by (topic, partition, offset, final); each names its envelope's row."""
    place = coordinates(seen["topic"], seen["partition"], seen["offset"])
    place |= seen["final"] != 0
    order = np.argsort(place, kind="stable")
    own = (seen["stream"] != NO_STREAM) & (seen["deviation"] & _NOT_OURS == 0)
    row = np.where(own, plan.rows(seen["stream"], seen["seq"]), -1)
    joined = Table.zeros(len(seen), JOINED)
    for name in seen.dtype.names or ():
        # Contiguous first: a gather over whole rows waits for memory at each of them.
        joined[name] = np.ascontiguousarray(seen[name]).take(order)
    joined["row"] = row.take(order)
    _join_by_origin(plan, joined, topics)
    return joined


def _join_by_origin(plan: Plan, joined: Table, topics: Sequence[TopicFacts]) -> None:
    """Give a dead letter the identity of the input record whose coordinates it names.

    They are stronger evidence than the identity that it carries: another one beside them is the letter's mistake.
    """
    roles = _roles(joined, topics)
    sources = np.array(inputs.places(topics), np.int64).reshape(-1, 2)
    wanting = np.flatnonzero(
        (roles == Role.DLQ)
        & (joined["deviation"] & _MISLEADING == 0)
        & (joined["origin_offset"] >= 0)
        & (joined["origin_partition"] >= 0)
        & (joined["origin_partition"] < len(sources))
    )
    own = np.flatnonzero((roles == Role.INPUT) & (joined["row"] >= 0))
    if not len(wanting) or not len(own):
        return
    places = coordinates(joined["topic"][own], joined["partition"][own], joined["offset"][own])
    topic, partition = sources[joined["origin_partition"][wanting]].T
    claimed = coordinates(topic, partition, joined["origin_offset"][wanting])
    at = np.minimum(np.searchsorted(places, claimed), len(places) - 1)
    found = places[at] == claimed
    rows = joined["row"][own[at[found]]]
    carried = joined["stream"][wanting[found]] != NO_STREAM
    differs = wanting[found][carried & (joined["row"][wanting[found]] != rows)]
    joined["deviation"][differs] |= np.uint32(Deviation.COORDINATES)
    joined["row"][wanting[found]] = rows
    joined["stream"][wanting[found]] = plan.envelopes["stream"][rows]
    joined["seq"][wanting[found]] = plan.envelopes["seq"][rows]


def _roles(rows: Rows, topics: Sequence[TopicFacts]) -> np.ndarray:
    table = np.full(256, 255, np.uint8)
    table[: len(topics)] = [topic.role for topic in topics]
    return np.asarray(table[rows["topic"]])


def contested(joined: Table) -> Table:
    """The rows of coordinates that were read with more than one content; `joined` is sorted by coordinates."""
    changed = _again(joined) & (joined["content"][1:] != joined["content"][:-1])
    if not changed.any():
        return joined[:0]
    place = coordinates(joined["topic"], joined["partition"], joined["offset"])
    return joined[np.isin(place, place[1:][changed])]


def results(plan: Plan, joined: Table, topics: Sequence[TopicFacts]) -> None:
    """Count and time what was read of each envelope; a record read twice at one coordinate counts once."""
    envelopes, size = plan.envelopes, len(plan.envelopes)
    roles = _roles(joined, topics)
    for role, word in ((Role.OUTPUT, "output"), (Role.DLQ, "dlq")):
        # Rows of one role are whole topics, so each of them still follows the one that it followed in all.
        mine = joined[(joined["row"] >= 0) & (roles == role)]
        new = np.ones(len(mine), bool)
        new[1:] = ~_again(mine) | (mine["row"][1:] != mine["row"][:-1])
        live = mine["final"] == 0
        new_in_read = new.copy()
        new_in_read[1:] |= live[1:] != live[:-1]
        for name, chosen in (
            (f"n_{word}", new),
            (f"live_{word}", new_in_read & live),
            (f"fresh_{word}", new_in_read & ~live),
        ):
            envelopes[name] = _count(mine["row"][chosen], size)
        at, seen = mine["row"][live], mine["seen_ns"][live]
        envelopes[f"first_{word}_ns"] = _least(at, seen, size)
        if role is Role.OUTPUT:
            last = np.full(size, -1, np.int64)
            np.maximum.at(last, at, seen)
            envelopes["last_output_ns"] = last


def replayed(plan: Plan, joined: Table, letters: Sequence[tuple[int, int, int]]) -> None:
    """Count of each envelope the dead letters (topic, partition, offset) whose record was sent again."""
    if not letters:
        return
    places = coordinates(*np.array(letters, np.int64).T)
    here = coordinates(joined["topic"], joined["partition"], joined["offset"])
    found = np.flatnonzero(np.isin(here, places) & (joined["row"] >= 0))
    # Sorted by coordinates: the live and the fresh sighting of a letter are beside one another.
    new = np.ones(len(found), bool)
    new[1:] = here[found][1:] != here[found][:-1]
    plan.envelopes["replayed"] = _count(joined["row"][found[new]], len(plan.envelopes))


def _count(rows: np.ndarray, size: int) -> np.ndarray:
    return np.minimum(np.bincount(rows, minlength=size), 0xFFFF)


def _least(rows: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    least = np.full(size, _NONE, np.int64)
    np.minimum.at(least, rows, values)
    return np.where(least == _NONE, -1, least)


def input_log(plan: Plan, joined: Table, topics: Sequence[TopicFacts], *, read_whole: bool) -> None:
    """Settle each send by the input log itself: what is in it was appended, whatever its acknowledgement says.

    `read_whole`: the fresh read covered all of the log, so that what it does not hold is not there. Otherwise the
    coordinates of the acknowledgement are kept where no record was read.
    """
    envelopes = plan.envelopes
    own = joined[(_roles(joined, topics) == Role.INPUT) & (joined["row"] >= 0)]
    # Sorted by coordinates: turned round, the first appearance of each envelope is written last, and stays.
    own = own[::-1]
    new = np.ones(len(own), bool)
    new[1:] = ~_again(own) | (own["row"][1:] != own["row"][:-1])
    envelopes["n_input"] = _count(own["row"][new], len(envelopes))
    if read_whole:
        envelopes["in_partition"], envelopes["in_offset"] = -1, -1
    envelopes["in_partition"][own["row"]] = inputs.numbers(own["topic"], own["partition"], topics)
    envelopes["in_offset"][own["row"]] = own["offset"]
    found = np.zeros(len(envelopes), bool)
    found[own["row"]] = True
    unsure = np.isin(envelopes["outcome"], (Outcome.INDETERMINATE, Outcome.NOT_SENT))
    envelopes["outcome"][found & unsure] = Outcome.ACKED
    # Nobody acknowledged it: the time in its row is that of the failure.
    envelopes["acked_ns"][found & unsure] = -1


def commits(plan: Plan, committed: Mapping[int, int]) -> None:
    """Mark what the target's groups committed past; `committed` is by the number of the input partition."""
    envelopes = plan.envelopes
    top = np.full(max(committed, default=-1) + 2, -1, np.int64)  # the last one stands for partition -1
    for number, position in committed.items():
        top[number] = position
    of = np.where(envelopes["in_partition"] < len(top) - 1, envelopes["in_partition"], -1)
    envelopes["committed"] = (envelopes["in_offset"] >= 0) & (envelopes["in_offset"] < top[of])
