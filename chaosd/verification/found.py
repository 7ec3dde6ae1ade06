"""The anomalies a fold has found: one row each, uncapped, joined by concatenation, turned into witnesses at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from chaosd.journal.columns import NO_STREAM
from chaosd.journal.table import Rows
from chaosd.kernel.verdict import Witness
from chaosd.verification.case import Case

# `topic` … `offset` name the record it is about (topic 255 = none), `hop` indexes the verifier's own words, `allowed` 1
# = the experiment permits it: counted and shown, no failure.
FOUND = np.dtype(
    [
        ("stream", "u2"),
        ("seq", "u4"),
        ("at_ns", "i8"),
        ("hop", "u1"),
        ("allowed", "u1"),
        ("topic", "u1"),
        ("partition", "i2"),
        ("offset", "i8"),
    ]
)
NO_TOPIC = 255
# The last is the first to sort by. All of a row: the order of merging must not show.
_IN_ORDER = ("hop", "offset", "partition", "topic", "seq", "stream", "at_ns", "allowed")
_TOLD = ("stream", "seq", "hop", "allowed", "topic", "partition", "offset")
_RECORD = ("seq", "stream", "offset", "partition", "topic")

Findings = Mapping[str, np.ndarray]


def of_envelopes(envelopes: Rows, at_ns: np.ndarray, hop: np.ndarray | int = 0) -> np.ndarray:
    """Rows about envelopes: nothing is known of a record."""
    rows = np.zeros(len(envelopes), FOUND)
    rows["stream"], rows["seq"] = envelopes["stream"], envelopes["seq"]
    rows["at_ns"], rows["hop"] = at_ns, hop
    rows["topic"], rows["partition"], rows["offset"] = NO_TOPIC, -1, -1
    return rows


def of_sightings(sightings: Rows, hop: np.ndarray | int = 0) -> np.ndarray:
    """Rows about records, one per coordinates and identity: the live and the fresh sighting of a record are one
    anomaly. Two identities at one place are two, in whatever shares they are.
    """
    rows = np.zeros(len(sightings), FOUND)
    for name in _RECORD:
        rows[name] = sightings[name]
    rows["at_ns"], rows["hop"] = sightings["seen_ns"], hop
    # Sorted by coordinates already; stable, so that the earliest sighting of each stays the first.
    rows = rows[np.lexsort([rows[name] for name in _RECORD])]
    return np.asarray(rows[first_of_each(rows, *_RECORD)])


def first_of_each(rows: Rows, *fields: str) -> np.ndarray:
    """Mask of the first row of each run of equal `fields`; rows are sorted by them."""
    if not len(rows):
        return np.zeros(0, bool)
    differs = np.zeros(len(rows) - 1, bool)
    for name in fields:
        differs |= rows[name][1:] != rows[name][:-1]
    return np.concatenate(([True], differs))


def join(a: Findings, b: Findings) -> Findings:
    """Both partial results as one."""
    return {name: np.concatenate((a[name], b[name])) for name in a}


def counts(findings: Findings, classes: Iterable[str]) -> dict[str, int]:
    """How many of each class, allowed ones included."""
    return {name: len(findings[name]) for name in classes}


def failing(findings: Findings, classes: Iterable[str]) -> tuple[str, ...]:
    """The classes with at least one anomaly that is not allowed."""
    return tuple(name for name in classes if (findings[name]["allowed"] == 0).any())


def witnesses(
    case: Case, findings: Findings, classes: Iterable[str], hops: Mapping[int, str] | None = None
) -> tuple[Witness, ...]:
    """The first of each class in order of time, those that are not allowed first; all of them in an unlimited case."""
    told: list[Witness] = []
    for name in classes:
        rows = findings[name]
        order = np.lexsort([rows[name] for name in _IN_ORDER])[: case.witness_limit]
        told.extend(_witness(case, name, row, hops or {}) for row in rows[order][list(_TOLD)].tolist())
    return tuple(told)


def _witness(case: Case, name: str, row: tuple[int, ...], hops: Mapping[int, str]) -> Witness:
    stream, seq, hop, allowed, topic, partition, offset = row
    stray = stream == NO_STREAM
    where = "" if topic == NO_TOPIC else place(case, topic, partition, offset)
    return Witness(
        anomaly=name,
        stream=-1 if stray else stream,
        seq=-1 if stray else seq,
        detail=where + (" (allowed)" if allowed else ""),
        hop=hops.get(hop, ""),
    )


def place(case: Case, topic: int, partition: int, offset: int) -> str:
    """How a record is named to people: `orders.out[3]@17`."""
    return f"{case.run.topics[topic].name}[{partition}]@{offset}"
