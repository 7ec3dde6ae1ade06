"""What holds for a whole run and every verifier needs: its facts, the tap's stalls, the group's progress, time windows.

Times are CLOCK_MONOTONIC nanoseconds. Spans are rows [from, until] of an (n, 2) array.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chaosd.journal import inputs
from chaosd.journal.columns import Outcome, Role
from chaosd.journal.model import BEATING, ENVELOPES, History, RunFacts
from chaosd.journal.table import Rows
from chaosd.kernel.clock import MS, SECOND

# Far enough in the future for any time; half of the range, so that sums with it stay inside int64.
NEVER_NS = np.iinfo(np.int64).max // 2
WITNESSES = 20
# What a stalled tap reads right after its stall was there before: its beat's own period, and a tenth of the stall.
_AFTER_STALL_NS = 10 * MS
_NO_SPANS = np.zeros((0, 2), np.int64)


@dataclass(frozen=True, slots=True)
class SlowPart:
    """A span in which a part answered chaosd itself much later than before the faults, past all proxies.

    `median_ns` is what its answers usually took in the span, `before_ns` what they took before.
    """

    on: str
    from_ns: int
    until_ns: int
    median_ns: int
    before_ns: int

    def told(self, started_ns: int) -> dict[str, Any]:
        """For a reader: the span in seconds of the run, the answers in ms, None for one that never came."""
        return {
            "part": self.on,
            "between_s": [round((at_ns - started_ns) / SECOND, 2) for at_ns in (self.from_ns, self.until_ns)],
            "median_ms": None if self.median_ns >= NEVER_NS else round(self.median_ns / MS, 3),
            "before_ms": None if self.before_ns >= NEVER_NS else round(self.before_ns / MS, 3),
        }


@dataclass(frozen=True, slots=True)
class Case:
    """One run before the judge. `stalls` are spans in which the tap may have seen late what was there early;
    `progress`, `resources` and `exposure` are those of `journal.columns`, `progress` with the numbers of input
    partitions (journal/inputs.py); `drained` says for each of these whether its drain is proved, the last one stands
    for records that are in none; `witness_limit` None shows every witness of a class; `slow` is what the parts
    themselves took their time for (verification/health.py).
    """

    run: RunFacts
    stalls: np.ndarray
    progress: np.ndarray
    drained: np.ndarray
    resources: np.ndarray
    exposure: np.ndarray
    witness_limit: int | None = WITNESSES
    slow: tuple[SlowPart, ...] = ()

    def unlimited(self) -> Case:
        """The same case with every witness shown, and nothing explained: the certificate counts them."""
        return replace(self, witness_limit=None)

    @property
    def explained(self) -> bool:
        """Whether anybody reads what explains a verdict. Its grade, and whom it names, never depend on this."""
        return self.witness_limit is not None

    def topics(self, role: Role) -> np.ndarray:
        """Indices of the topics that have this role."""
        return np.array([n for n, topic in enumerate(self.run.topics) if topic.role == role], np.int64)

    def on_topics(self, rows: Rows, *roles: Role) -> np.ndarray:
        """Which rows (anything with a column `topic`) are about topics of one of these roles."""
        chosen = np.zeros(256, bool)
        for number, topic in enumerate(self.run.topics):
            chosen[number] = topic.role in roles
        return np.asarray(chosen[rows["topic"]])

    def phase_mask(self, envelopes: Rows, *phases: str) -> np.ndarray:
        """Which envelopes were planned by segments of these phases."""
        size = max((segment.index for segment in self.run.segments), default=-1) + 1
        chosen = np.zeros(size + 1, bool)
        for segment in self.run.segments:
            chosen[segment.index] = segment.phase in phases
        return np.asarray(chosen[np.minimum(envelopes["segment"], size)])

    def fault_spans(self, after_ns: int = 0) -> np.ndarray:
        """[call, clear + `after_ns`] of every injection that was tried; unhealed ones never end.

        Overlays are none of them: they break nothing, so they excuse nothing.
        """
        spans = [
            (injection.call_ns, injection.clear_high_ns + after_ns if injection.clear_high_ns >= 0 else NEVER_NS)
            for injection in self.run.injections
            if injection.call_ns >= 0 and not injection.overlay
        ]
        return np.array(spans, np.int64).reshape(-1, 2)

    def trouble_spans(self, after_ns: int = 0) -> np.ndarray:
        """The fault spans, and in the same way those in which the stack itself failed."""
        sick = [(span.from_ns, span.until_ns + after_ns) for span in self.run.unhealthy]
        return np.concatenate((self.fault_spans(after_ns), np.array(sick, np.int64).reshape(-1, 2)))

    def slow_spans(self, after_ns: int = 0) -> np.ndarray:
        """The spans in which some part was slow, each `after_ns` longer at its end: what waited meanwhile is granted
        that. A span gets at most its own length more, or many moments would excuse all the time between them.
        """
        spans = [(one.from_ns, one.until_ns + min(after_ns, one.until_ns - one.from_ns)) for one in self.slow]
        return np.array(spans, np.int64).reshape(-1, 2)

    def blamed(self, from_ns: int, until_ns: int) -> tuple[str, ...]:
        """The reasons `part_slow:PART`, of each part that was slow at some time of [from, until]."""
        parts = (one.on for one in self.slow if one.from_ns <= until_ns and one.until_ns >= from_ns)
        return tuple(f"part_slow:{on}" for on in dict.fromkeys(parts))

    def slow_told(self, reasons: Iterable[str]) -> list[dict[str, Any]]:
        """The longest spans of the parts that `part_slow:PART` among these reasons names, in order of time."""
        named = {on for kind, _, on in (reason.partition(":") for reason in reasons) if kind == "part_slow"}
        longest = sorted((one for one in self.slow if one.on in named), key=lambda one: one.from_ns - one.until_ns)
        return [
            one.told(self.run.started_ns) for one in sorted(longest[: self.witness_limit], key=lambda one: one.from_ns)
        ]


def open_case(history: History) -> Case:
    """Gather what is small enough to be at hand in every fold."""
    beats = history.column("heartbeats")
    return Case(
        run=history.run,
        stalls=tap_stalls(beats),
        progress=_progress(history),
        drained=proved_drains(history),
        resources=history.column("resources"),
        exposure=history.column("exposure"),
    )


def _progress(history: History) -> np.ndarray:
    """The samples, with the number of each input partition in the place of the partition."""
    rows = history.column("progress")
    of = inputs.numbers(rows["topic"], rows["partition"], history.run.topics)
    if (of == rows["partition"]).all():
        return rows
    numbered = rows.copy()
    numbered["partition"] = of
    return numbered


def proved_drains(history: History) -> np.ndarray:
    """By the number of the input partition whether its drain is proved, so that absence may be called loss; the last
    one stands for no partition at all.

    The run proved ends, commits and quiet. The fences of a first-in-first-out target are checked here: one that did not
    come out disproves its partition, one that never went in disproves all. A record that is not in the input log needs
    every partition proved.
    """
    run = history.run
    most = max((topic.partitions for topic in run.topics), default=0)
    proved = np.zeros(max(most, len(inputs.places(run.topics))) + 1, bool)
    if not run.drain or not run.fresh_complete:
        return proved
    for number, facts in run.drain.items():
        proved[number] = facts.proved
    whole = all(facts.proved for facts in run.drain.values())
    if run.fifo:
        numbers = [segment.index for segment in run.segments if segment.phase == "fence"]
        fences = [p.envelopes[np.isin(p.envelopes["segment"], numbers)] for p in history.partitions()]
        rows = np.concatenate(fences) if numbers and fences else np.zeros(0, ENVELOPES)
        if not len(rows) or (rows["outcome"] != Outcome.ACKED).any():
            return np.zeros_like(proved)
        kept_back = rows["in_partition"][(rows["n_output"] == 0) & (rows["n_dlq"] == 0)]
        proved[kept_back] = False
        whole = whole and not len(kept_back)
    proved[-1] = whole
    return proved


def tap_stalls(beats: np.ndarray) -> np.ndarray:
    """Merge the tap's late beats (dtype BEATS) into spans, each lengthened by the time the tap needs to catch up."""
    if not len(beats):
        return _NO_SPANS
    own = beats[beats["process"] == BEATING.index("tap")]
    late = own["beat_ns"] - own["due_ns"]
    return merge_spans(np.stack([own["due_ns"], own["beat_ns"] + _AFTER_STALL_NS + late // 10], axis=1))


def merge_spans(spans: np.ndarray) -> np.ndarray:
    """Sort spans and join those that touch."""
    if not len(spans):
        return _NO_SPANS
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    ends = np.maximum.accumulate(spans[:, 1])
    first = np.concatenate(([True], spans[1:, 0] > ends[:-1]))
    starts = spans[first, 0]
    last = np.concatenate((np.flatnonzero(first)[1:] - 1, [len(spans) - 1]))
    return np.stack([starts, ends[last]], axis=1)


def overlaps(from_ns: np.ndarray, until_ns: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Which of the times [from, until] touch any of the spans."""
    merged = merge_spans(spans)
    if not len(merged):
        return np.zeros(len(from_ns), bool)
    # The only candidate is the first span that ends at or after `from`.
    index = np.searchsorted(merged[:, 1], from_ns, side="left")
    # Beyond all of them nothing is touched, not even by what never ends.
    starts = np.append(merged[:, 0], np.iinfo(np.int64).max)
    return np.asarray(starts[index] <= until_ns)


def committed_ns(case: Case, envelopes: Rows) -> np.ndarray:
    """When the target's group was first seen to have committed past each envelope's input record; NEVER_NS if never."""
    times = np.full(len(envelopes), NEVER_NS, np.int64)
    progress = case.progress
    if not len(progress):
        return times
    own = progress[case.on_topics(progress, Role.INPUT)]
    for partition in np.unique(own["partition"]):
        rows = own[own["partition"] == partition]
        rows = rows[np.argsort(rows["t_ns"], kind="stable")]
        reached = np.maximum.accumulate(rows["committed"])
        here = (envelopes["in_partition"] == partition) & (envelopes["in_offset"] >= 0)
        index = np.searchsorted(reached, envelopes["in_offset"][here], side="right")
        times[here] = np.append(rows["t_ns"], NEVER_NS)[index]
    return times
