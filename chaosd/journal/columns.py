"""The columns of the journal: fixed-width rows, one Arrow IPC stream per process and kind.

Times are CLOCK_MONOTONIC nanoseconds, one clock for all processes of the host. `-1` means "none" in signed columns,
`NO_STREAM` in `stream`. A code (outcome, direction, …) is the value of its enum here; an index (`topic`, `on`)
points into the list of that name in the fact `run_started`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

# The words of the plan's room, which the rows below speak too; the explicit form passes them on to who reads rows.
from chaosd.experiment.content import Deviation as Deviation  # noqa: PLC0414
from chaosd.experiment.content import Role as Role  # noqa: PLC0414
from chaosd.journal.probes import Path as Path  # noqa: PLC0414
from chaosd.journal.probes import Probe as Probe  # noqa: PLC0414
from chaosd.journal.probes import ProbeOutcome as ProbeOutcome  # noqa: PLC0414

NO_STREAM = 0xFFFF


class Outcome(IntEnum):
    """What became of a send."""

    ACKED = 0
    REJECTED = 1  # a definite error: it cannot have been appended
    INDETERMINATE = 2  # everything else: it may have been appended
    NOT_SENT = 3  # planned, never tried (only the reader writes this)


class State(IntEnum):
    """The sampled scheduler state of a process."""

    GONE = 0
    RUNNING = 1  # running or sleeping
    STOPPED = 2  # SIGSTOP


@dataclass(frozen=True, slots=True)
class Schema:
    """A kind of row: its name (the file is `<name>-<process>.arrows`) and its numpy dtype."""

    name: str
    dtype: np.dtype[np.void]


def _schema(name: str, *fields: tuple[str, str]) -> Schema:
    return Schema(name, np.dtype(list(fields)))


# What the generator handed to its client. `copy` 1: the same record again, on purpose.
SENDS = _schema(
    "sends", ("stream", "u2"), ("seq", "u4"), ("due_ns", "i8"), ("sent_ns", "i8"), ("topic", "u1"), ("copy", "u1")
)
# How each send ended. `error` is an index into the facts `error_class` of the same process, 0 = none.
ACKS = _schema(
    "acks",
    ("stream", "u2"),
    ("seq", "u4"),
    ("outcome", "u1"),
    ("topic", "u1"),
    ("partition", "i2"),
    ("offset", "i8"),
    ("acked_ns", "i8"),
    ("error", "u2"),
    ("copy", "u1"),
)
# Every record read from the run's topics. `final`: 0 live, 1 fresh read after the drain. `content` is a 64-bit hash of
# key and value; `origin_*` are the coordinates that a DLQ record claims for its input (-1 elsewhere or when absent);
# the partition is its number over all input topics (inputs.py).
SIGHTINGS = _schema(
    "sightings",
    ("topic", "u1"),
    ("partition", "i2"),
    ("offset", "i8"),
    ("append_ms", "i8"),
    ("seen_ns", "i8"),
    ("stream", "u2"),
    ("seq", "u4"),
    ("type", "u1"),
    ("deviation", "u4"),
    ("content", "u8"),
    ("origin_partition", "i2"),
    ("origin_offset", "i8"),
    ("final", "u1"),
)
# The target's group and the topics' ends, sampled at least every 200 ms. `committed` -1 = none; `state` 1 = Stable.
PROGRESS = _schema(
    "progress",
    ("t_ns", "i8"),
    ("topic", "u1"),
    ("partition", "i2"),
    ("committed", "i8"),
    ("log_start", "i8"),
    ("end", "i8"),
    ("state", "u1"),
)
# Own stalls of a process: the 10 ms beat came late. Gaps only.
HEARTBEATS = _schema("heartbeats", ("due_ns", "i8"), ("beat_ns", "i8"))
# chaosd's own probes; `on` indexes `parts`, `bytes` is what a bulk probe moved.
CANARIES = _schema(
    "canaries",
    ("on", "u1"),
    ("path", "u1"),
    ("probe", "u1"),
    ("sent_ns", "i8"),
    ("done_ns", "i8"),
    ("outcome", "u1"),
    ("bytes", "u4"),
)
# The target's sockets: `proxied` to the part's proxy, `direct` past it (a bypass, must be 0), or NOT_KNOWN.
EXPOSURE = _schema("exposure", ("t_ns", "i8"), ("on", "u1"), ("proxied", "u2"), ("direct", "u2"))
NOT_KNOWN = 0xFFFF
# Processes of the testbed; `process` indexes `processes`. cpu_ns is user + system since its start.
RESOURCES = _schema(
    "resources",
    ("t_ns", "i8"),
    ("process", "u1"),
    ("pid", "i4"),
    ("started", "i8"),
    ("state", "u1"),
    ("rss_bytes", "i8"),
    ("cpu_ns", "i8"),
    ("fds", "i4"),
)
# What servers tell of themselves; `gauge` indexes `names` of the fact `gauges`. It was so at or just before t_ns.
GAUGES = _schema("gauges", ("t_ns", "i8"), ("gauge", "u2"), ("value", "i8"))

SCHEMAS = {s.name: s for s in (SENDS, ACKS, SIGHTINGS, PROGRESS, HEARTBEATS, CANARIES, EXPOSURE, RESOURCES, GAUGES)}
