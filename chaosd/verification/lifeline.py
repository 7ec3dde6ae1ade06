"""The story of a witness in order of time: due, sent, acknowledged, committed past, seen, and the faults beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from chaosd.journal import inputs
from chaosd.journal.columns import Deviation, Outcome
from chaosd.journal.model import History, Partition
from chaosd.journal.table import Rows
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Verdict, Witness
from chaosd.verification import found
from chaosd.verification.case import NEVER_NS, Case, committed_ns

Story = tuple[dict[str, Any], ...]
# A record that came again and again tells nothing new after these.
_SIGHTINGS = 12
# A fault that ended this long before the envelope was due explains nothing any more.
_BESIDE_NS = 10 * SECOND


def attach(case: Case, history: History, verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Give each witness with an identity its story. One pass over the rows, and only if there is a witness."""
    verdicts = tuple(verdicts)
    wanted = {(w.stream, w.seq) for verdict in verdicts for w in verdict.witnesses if w.stream >= 0}
    stories: dict[tuple[int, int], Story] = {}
    if wanted:
        for partition in history.partitions():
            stories.update(_stories(case, partition, wanted))
    return tuple(replace(v, witnesses=tuple(_told(w, stories) for w in v.witnesses)) for v in verdicts)


def _told(witness: Witness, stories: dict[tuple[int, int], Story]) -> Witness:
    return replace(witness, lifeline=stories.get((witness.stream, witness.seq), ()))


def _stories(case: Case, partition: Partition, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], Story]:
    rows = partition.envelopes
    packed = (rows["stream"].astype(np.int64) << 32) | rows["seq"]
    here = np.flatnonzero(np.isin(packed, [(stream << 32) | seq for stream, seq in wanted]))
    sightings = partition.sightings[np.isin(partition.sightings["row"], here)]
    passed = committed_ns(case, rows[here])
    return {
        (int(rows[row]["stream"]), int(rows[row]["seq"])): story(
            case, rows[row], sightings[sightings["row"] == row], int(passed[n])
        )
        for n, row in enumerate(here)
    }


def story(case: Case, envelope: np.void, sightings: Rows, passed_ns: int) -> Story:
    """Build one story; times are ms since the start of the run."""
    told: list[tuple[int, dict[str, Any]]] = [(int(envelope["due_ns"]), {"what": "due"})]
    outcome = Outcome(int(envelope["outcome"]))
    if envelope["sent_ns"] >= 0:
        told.append((int(envelope["sent_ns"]), {"what": "sent"}))
    where = _input(case, int(envelope["in_partition"]), int(envelope["in_offset"]))
    if envelope["acked_ns"] >= 0:
        told.append((int(envelope["acked_ns"]), {"what": outcome.name.lower(), **where}))
    if passed_ns < NEVER_NS:
        told.append((passed_ns, {"what": "seen committed past"}))
    first = sightings[np.argsort(sightings["seen_ns"], kind="stable")][:_SIGHTINGS]
    told.extend((int(sighting["seen_ns"]), _seen(case, sighting)) for sighting in first)
    told.extend(_faults(case, int(envelope["due_ns"]), max(at_ns for at_ns, _ in told)))
    told.sort(key=lambda entry: entry[0])
    return tuple({"at_ms": round((at_ns - case.run.started_ns) / MS, 3), **entry} for at_ns, entry in told)


def _input(case: Case, number: int, offset: int) -> dict[str, Any]:
    """Where an input record is; its topic is told where there are several."""
    known = inputs.places(case.run.topics)
    topic, partition = known[number] if 0 <= number < len(known) else (-1, number)
    if topic < 0 or len({index for index, _ in known}) == 1:
        return {"partition": partition, "offset": offset}
    return {"topic": case.run.topics[topic].name, "partition": partition, "offset": offset}


def _seen(case: Case, sighting: np.void) -> dict[str, Any]:
    topic, partition, offset = (int(sighting[name]) for name in ("topic", "partition", "offset"))
    deviation = Deviation(int(sighting["deviation"]))
    entry: dict[str, Any] = {
        "what": "read afresh" if sighting["final"] else "seen",
        "record": found.place(case, topic, partition, offset),
        "role": case.run.topics[topic].role.name.lower(),
    }
    if deviation:
        entry["deviation"] = [flag.name.lower() for flag in deviation if flag.name]
    return entry


def _faults(case: Case, from_ns: int, until_ns: int) -> list[tuple[int, dict[str, Any]]]:
    told = []
    for injection in case.run.injections:
        clear_ns = injection.clear_high_ns if injection.clear_high_ns >= 0 else NEVER_NS
        if 0 <= injection.call_ns <= until_ns and clear_ns >= from_ns - _BESIDE_NS:
            name = {"fault": injection.fault, "on": injection.on, "id": injection.id}
            told.append((injection.call_ns, {"what": "fault injected", **name}))
            if clear_ns < NEVER_NS:
                told.append((clear_ns, {"what": "fault gone", **name}))
    return told
