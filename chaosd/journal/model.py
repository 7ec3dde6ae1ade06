"""What a run's journal says, read back: the values that verifiers fold over. Data only, no reading.

Times are CLOCK_MONOTONIC nanoseconds; -1 means "none" in signed columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chaosd.experiment.timeline import TRAFFIC
from chaosd.journal.columns import HEARTBEATS, SIGHTINGS, Role
from chaosd.journal.table import Rows
from chaosd.kernel.proof import Proof

if TYPE_CHECKING:
    from chaosd.experiment.plan import Segment
    from chaosd.experiment.spec import Expect

# One row per planned envelope, sorted by (stream, seq). `in_partition` (its number over all input topics, inputs.py)
# and `in_offset` name its record in the input log (-1 when it is not there), its first one of `n_input`. `n_*` count
# distinct coordinates over the live and the fresh read, `live_*` and `fresh_*` over one of them. The `*_ns` of
# results are of the live read. Where an envelope owes several outputs, `*_output` count whole sets of them,
# `first_output_ns` is when the first set was whole, and `n_more` counts outputs beyond those owed, of whichever kind.
# `replayed` counts the dead letters of it whose record was sent again.
ENVELOPES = np.dtype(
    [
        ("stream", "u2"),
        ("seq", "u4"),
        ("k", "i8"),
        ("segment", "u2"),
        ("kind", "u1"),
        ("due_ns", "i8"),
        ("sent_ns", "i8"),
        ("outcome", "u1"),
        ("acked_ns", "i8"),
        ("in_partition", "i2"),
        ("in_offset", "i8"),
        ("committed", "u1"),
        ("n_input", "u2"),
        ("n_output", "u2"),
        ("n_dlq", "u2"),
        ("first_output_ns", "i8"),
        ("last_output_ns", "i8"),
        ("first_dlq_ns", "i8"),
        ("fresh_output", "u2"),
        ("fresh_dlq", "u2"),
        ("live_output", "u2"),
        ("live_dlq", "u2"),
        ("n_more", "u2"),
        ("replayed", "u2"),
    ]
)
# The tap's rows, each with the index of its envelope in `Partition.envelopes` (-1 = stray).
JOINED = np.dtype([*((name, SIGHTINGS.dtype[name]) for name in SIGHTINGS.dtype.names or ()), ("row", "i8")])
# Late beats of all processes that keep a heartbeat; `process` indexes BEATING.
BEATING = ("generator", "tap", "conductor")
BEATS = np.dtype([("process", "u1"), *((name, HEARTBEATS.dtype[name]) for name in HEARTBEATS.dtype.names or ())])


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic of the run; columns name it by its index in `RunFacts.topics`. A `compacted` one may lose records."""

    name: str
    role: Role
    partitions: int
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """A topic that a fault deleted: its records are gone, and another one of its name has an index of its own.

    `clean`: the tap had let go of it before the other one was made. `read` and `ends` are how far each partition was
    read live, and how far it went right before the deletion; empty where nobody said so. It was not there any more at
    `returned_ns`; -1 where nobody saw it go.
    """

    injection: str
    topic: int
    role: Role
    call_ns: int
    returned_ns: int
    clean: bool
    read: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    @property
    def unread(self) -> int:
        """How many offsets of it were deleted before the tap came to them, as far as is known."""
        return sum(max(0, end - read) for read, end in zip(self.read, self.ends, strict=False))


@dataclass(frozen=True, slots=True)
class InjectionFacts:
    """One injection. `state`: planned (never tried), injected (never healed), healed, failed, unhealed.

    `call_ns` … `returned_ns` is the act of injecting, `clear_low_ns` … `clear_high_ns` brackets the moment from which
    the fault is gone; -1 when it did not come to that. `voids` names obligations of the target that the fault takes
    away (`results`: those of envelopes under way while it was in force; `topic`: those that nobody had seen when they
    were deleted with their topic, see Deletion).
    """

    id: str
    fault: str
    on: str
    params: Mapping[str, Any]
    planned_at_ns: int
    for_ns: int
    bite: tuple[Proof, ...]
    healed: tuple[Proof, ...]
    voids: tuple[str, ...] = ()
    call_ns: int = -1
    returned_ns: int = -1
    clear_low_ns: int = -1
    clear_high_ns: int = -1
    healed_by: str = ""
    state: str = "planned"

    @property
    def overlay(self) -> bool:
        """Whether it changed the traffic and broke nothing: excuses nothing, and what it left is to be worked off."""
        return self.on == TRAFFIC


@dataclass(frozen=True, slots=True)
class DrainFacts:
    """Whether an input partition was proved drained: its group committed at or past the frozen end, and quiet came.

    `partition` is its number over all input topics (inputs.py).
    """

    partition: int
    proved: bool
    input_end: int
    committed: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A span in which the conductor's own clients failed on the DIRECT side of a part."""

    on: str
    from_ns: int
    until_ns: int
    failures: int


# What `RunFacts.torn` says of a file that is whole, but not what was sealed, or not what was written: a crash cuts the
# end of a file, it never breaks a chain in the middle.
DIFFERS = "differs from the seal"
BROKEN = "chain broken"


@dataclass(frozen=True, slots=True)
class Owed:
    """How many outputs of a kind an envelope owes. `optional`: none is right too. `late`: they are read only when the
    run is over (rows of a table), so that nobody knows when they came. `streams`: whose envelopes owe it; None: all.
    """

    count: int
    optional: bool = False
    late: bool = False
    streams: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run, merged over its processes.

    `torn` names files (`NAME: why`) with a cut tail, a broken chain or another content than the sealed one, `missing`
    files that are not there; `topics` that were made again come after those of the start, and `deletions` say which
    ones ended; `gauges` names what the servers told, as `redis.maxmemory`; `drain` is by the number of the input
    partition, None where the run never drained; `max_idle_ns` is how long the target may stand still by its own word;
    `results` says how many outputs of each kind an envelope owes (the column `type` of an output is the number of its
    kind), and is empty where it owes one of any; `unnamed` are topics between services with records of which nobody
    knows whose they are; `replayed` are the places (topic, partition, offset) of dead letters whose records were sent
    again, None where the experiment asks for no replay; `ended_ns` is None for a run that was cut off; `facts` are all
    lines of all processes in order of time.
    """

    run_id: str
    run_tag: int
    seed: int
    profile: str
    sealed: bool
    hash: str
    torn: tuple[str, ...]
    missing: tuple[str, ...]
    expect: Expect
    limit_ns: int
    hold_ns: int
    started_ns: int
    ended_ns: int | None
    aborted: str | None
    segments: tuple[Segment, ...]
    topics: tuple[TopicFacts, ...]
    parts: tuple[str, ...]
    processes: tuple[str, ...]
    injections: tuple[InjectionFacts, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    gauges: tuple[str, ...] = ()
    drain: Mapping[int, DrainFacts] | None = None
    fresh_complete: bool = False
    fresh_ends: Mapping[str, tuple[int, ...]] | None = None
    unhealthy: tuple[Unhealthy, ...] = ()
    poisoned: bool = False
    deaths: tuple[str, ...] = ()
    fifo: bool = False
    max_idle_ns: int = 0
    results: tuple[Owed, ...] = ()
    unnamed: tuple[str, ...] = ()
    baseline_reused: Mapping[str, Any] | None = None
    replayed: tuple[tuple[int, int, int], ...] | None = None
    facts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """A share of a run's rows such that all rows of a stream (and so of an envelope, and of a key) are in one share.

    `envelopes` has dtype ENVELOPES; `sightings` has dtype JOINED, sorted by (topic, partition, offset, final). Every
    stray is in exactly one share. `contested` are the sightings of coordinates that were read with more than one
    content: those of the whole history in one of its shares, none in the others, because the contents may belong to
    different envelopes. None: this share is the whole history.
    """

    envelopes: Rows
    sightings: Rows
    contested: Rows | None = None

    @property
    def stray(self) -> Rows:
        """Records that belong to no planned envelope."""
        return self.sightings[self.sightings["row"] < 0]


class History(Protocol):
    """A run, read back. `column(name)` merges all files of a kind of `journal.columns` (heartbeats as BEATS)."""

    @property
    def run(self) -> RunFacts:
        """The facts."""
        ...

    def partitions(self) -> Iterator[Partition]:
        """The rows, share by share; the same in every call."""
        ...

    def column(self, name: str) -> np.ndarray:
        """All rows of one kind; an empty array when there are none."""
        ...
