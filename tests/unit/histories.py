"""Builds hand-written histories: a pipeline whose every result is known, to be changed row by row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from chaosd.experiment.plan import Segment
from chaosd.experiment.spec import Expect, Recovery
from chaosd.journal import columns, join
from chaosd.journal.columns import NO_STREAM, SCHEMAS, Outcome, Probe, Role
from chaosd.journal.model import (
    BEATING,
    BEATS,
    ENVELOPES,
    JOINED,
    DrainFacts,
    InjectionFacts,
    Partition,
    RunFacts,
    TopicFacts,
)
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification.case import open_case
from chaosd.verification.compose import run_verifier
from chaosd.verification.loading import load
from chaosd.verification.verifier import Verifier

SOURCES = load(Path(__file__).resolve().parents[2] / "verifiers")
VERIFIERS = tuple(source.verifier for source in SOURCES)
TOPICS = (TopicFacts("in", Role.INPUT, 2), TopicFacts("out", Role.OUTPUT, 2), TopicFacts("dlq", Role.DLQ, 1))
PARTS = ("redis", "postgres", "kafka")
PROCESSES = ("redis", "postgres", "kafka", "toxiproxy", "target")
STARTED_NS = 100 * SECOND
EXPECT = Expect(recovery=Recovery(within_ns=5 * SECOND))


@dataclass
class Written:
    """A History whose arrays a test may change before it is judged."""

    run: RunFacts
    rows: np.ndarray
    sightings: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    cut_at_streams: tuple[int, ...] = ()

    def partitions(self) -> Iterator[Partition]:
        keys = [self.sightings[name] for name in ("final", "offset", "partition", "topic")]
        sightings = self.sightings[np.lexsort(keys)]
        if not self.cut_at_streams:
            yield Partition(self.rows, sightings)
            return
        contested = join.contested(sightings)
        edges = [0, *np.searchsorted(self.rows["stream"], self.cut_at_streams).tolist(), len(self.rows)]
        for low, high in itertools.pairwise(edges):
            # Strays are in the first.
            share = sightings[(sightings["row"] >= (low or -1)) & (sightings["row"] < high)].copy()
            share["row"] = np.where(share["row"] >= 0, share["row"] - low, -1)
            yield Partition(self.rows[low:high], share, contested if low == 0 else contested[:0])

    def column(self, name: str) -> np.ndarray:
        empty = BEATS if name == "heartbeats" else SCHEMAS[name].dtype
        return self.columns.get(name, np.zeros(0, empty))

    def facts(self, **changes: object) -> Written:
        self.run = replace(self.run, **changes)
        return self

    def expect(self, **changes: object) -> Written:
        return self.facts(expect=replace(self.run.expect, **changes))

    def find(self, *, kind: int = 0, phase: str = "tail", nth: int = 5) -> int:
        index = next(segment.index for segment in self.run.segments if segment.phase == phase)
        chosen = (self.rows["segment"] == index) & ((self.rows["kind"] > 0) == (kind > 0))
        return int(np.flatnonzero(chosen)[nth])

    def results_of(self, row: int) -> np.ndarray:
        return (self.sightings["row"] == row) & (self.sightings["topic"] > 0)

    def lose(self, row: int, *, live: bool = True, fresh: bool = True) -> None:
        for gone, final, words in ((live, 0, "live"), (fresh, 1, "fresh")):
            if gone:
                self.sightings = self.sightings[~(self.results_of(row) & (self.sightings["final"] == final))]
                self.rows[f"{words}_output"][row] = self.rows[f"{words}_dlq"][row] = 0
        if live:
            for name in ("first_output_ns", "last_output_ns", "first_dlq_ns"):
                self.rows[name][row] = -1
        if live and fresh:
            self.rows["n_output"][row] = self.rows["n_dlq"][row] = 0

    def give(
        self, row: int, role: Role, *, offset: int = 1 << 30, partition: int = 0, at_ns: int | None = None
    ) -> None:
        """One more result record of an envelope, read live and afresh."""
        word = "output" if role is Role.OUTPUT else "dlq"
        at = int(max(self.rows["first_output_ns"][row], self.rows["first_dlq_ns"][row], self.rows["due_ns"][row]))
        at = at if at_ns is None else at_ns
        for name in (f"n_{word}", f"live_{word}", f"fresh_{word}"):
            self.rows[name][row] += 1
        if self.rows[f"first_{word}_ns"][row] < 0:
            self.rows[f"first_{word}_ns"][row] = at
        if word == "output":
            self.rows["last_output_ns"][row] = max(at, self.rows["last_output_ns"][row])
        self.add(int(role), partition, offset, row=row, at_ns=at)

    def add(
        self, topic: int, partition: int, offset: int, *, row: int = -1, deviation: int = 0, content: int = 7,
        stream: int = NO_STREAM, seq: int = 0, finals: tuple[int, ...] = (0, 1), at_ns: int = STARTED_NS,
    ) -> None:  # fmt: skip
        made = np.zeros(len(finals), JOINED)
        made["topic"], made["partition"], made["offset"], made["final"] = topic, partition, offset, finals
        made["row"], made["deviation"], made["content"], made["seen_ns"] = row, deviation, content, at_ns
        made["stream"], made["seq"] = (self.rows["stream"][row], self.rows["seq"][row]) if row >= 0 else (stream, seq)
        self.sightings = np.concatenate((self.sightings, made))

    def stall(self, from_ns: int, until_ns: int, process: str = "tap") -> None:
        beat = np.array([(BEATING.index(process), from_ns, until_ns)], BEATS)
        self.columns["heartbeats"] = np.concatenate((self.column("heartbeats"), beat))


def injection(id: str = "f1", **changes: object) -> InjectionFacts:
    """A healed latency on Redis from 20 s to 25 s of the run."""
    plain = InjectionFacts(
        id=id,
        fault="latency",
        on="redis",
        params={},
        planned_at_ns=STARTED_NS + 20 * SECOND,
        for_ns=5 * SECOND,
        bite=(Proof(Source.ROUND_TRIP_MS, "redis", Relation.RISES_BY, 300.0),),
        healed=(Proof(Source.ROUND_TRIP_MS, "redis", Relation.BACK_TO_BASELINE),),
        call_ns=STARTED_NS + 20 * SECOND,
        returned_ns=STARTED_NS + 20 * SECOND + 2 * MS,
        clear_low_ns=STARTED_NS + 25 * SECOND,
        clear_high_ns=STARTED_NS + 25 * SECOND + 4 * MS,
        healed_by="conductor",
        state="healed",
    )
    return replace(plain, **changes)


def segments(*, rate_hz: int = 200, streams: int = 4, phases: dict[str, float] | None = None) -> tuple[Segment, ...]:
    """Contiguous phases, lengths in seconds; by default a fault from 20 s to 25 s and a tail to 40 s."""
    lengths = phases or {"warmup": 5.0, "baseline": 15.0, "faults": 5.0, "tail": 15.0}
    made, first, at_ns = [], 0, STARTED_NS
    for index, (phase, length_s) in enumerate(lengths.items()):
        count = round(length_s * rate_hz)
        made.append(Segment(index, phase, first, count, at_ns, SECOND // rate_hz, streams))
        first, at_ns = first + count, at_ns + count * (SECOND // rate_hz)
    return tuple(made)


Latency = Callable[[np.ndarray], np.ndarray]


def steady(due_ns: np.ndarray) -> np.ndarray:
    """20 ms, and a little more that repeats."""
    return 20 * MS + (due_ns // 5_000_000 % 7) * MS


def history(
    *,
    plan: tuple[Segment, ...] | None = None,
    latency: Latency = steady,
    injections: tuple[InjectionFacts, ...] = (),
    poison_every: int = 10,
    ack_ns: int = 2 * MS,
) -> Written:
    """A run in which everything is right: each envelope has its one result `latency(due)` after it was due."""
    plan = segments() if plan is None else plan
    rows = _rows(plan, latency, poison_every, ack_ns)
    end_ns = int(max(rows["due_ns"].max(), rows["last_output_ns"].max(), rows["first_dlq_ns"].max())) + 5 * SECOND
    drain = {n: DrainFacts(n, True, 1 << 20, 1 << 20) for n in range(2)}
    run = RunFacts(
        run_id="r", run_tag=1, seed=1, profile="standard", sealed=True, hash="5eed", torn=(), missing=(), expect=EXPECT,
        limit_ns=5 * SECOND, hold_ns=5 * SECOND, started_ns=STARTED_NS, ended_ns=end_ns, aborted=None, segments=plan,
        topics=TOPICS, parts=PARTS, processes=PROCESSES, injections=injections, drain=drain, fresh_complete=True,
    )  # fmt: skip
    written = Written(run, rows, _sightings(rows))
    written.columns["progress"] = progress(rows, end_ns)
    written.columns.update(evidence(injections, end_ns))
    return written


def _rows(plan: tuple[Segment, ...], latency: Latency, poison_every: int, ack_ns: int) -> np.ndarray:
    rows = np.zeros(sum(segment.count for segment in plan), ENVELOPES)
    k = np.arange(len(rows))
    streams = plan[0].streams
    rows["k"], rows["stream"], rows["seq"] = k, k % streams, k // streams
    for segment in plan:
        of = slice(segment.first, segment.first + segment.count)
        rows["segment"][of] = segment.index
        rows["due_ns"][of] = segment.start_ns + np.arange(segment.count) * segment.interval_ns
    rows["kind"] = (k % poison_every == poison_every - 1) if poison_every else 0
    rows["sent_ns"], rows["acked_ns"] = rows["due_ns"] + 100_000, rows["due_ns"] + ack_ns
    rows["outcome"], rows["committed"], rows["n_input"] = Outcome.ACKED, 1, 1
    rows["in_partition"] = rows["stream"] % 2
    for partition in range(2):
        here = rows["in_partition"] == partition
        rows["in_offset"][here] = np.arange(int(here.sum()))
    seen = rows["due_ns"] + latency(rows["due_ns"])
    plain = rows["kind"] == 0
    rows["first_output_ns"] = rows["last_output_ns"] = np.where(plain, seen, -1)
    rows["first_dlq_ns"] = np.where(plain, -1, seen)
    for word, of in (("output", plain), ("dlq", ~plain)):
        for name in (f"n_{word}", f"live_{word}", f"fresh_{word}"):
            rows[name] = of
    return rows[np.lexsort((rows["seq"], rows["stream"]))]


def _sightings(rows: np.ndarray) -> np.ndarray:
    made = []
    for topic, chosen, partition, seen in (
        (0, np.ones(len(rows), bool), rows["in_partition"], rows["acked_ns"]),
        (1, rows["kind"] == 0, rows["in_partition"], rows["first_output_ns"]),
        (2, rows["kind"] > 0, np.zeros(len(rows), np.int16), rows["first_dlq_ns"]),
    ):
        index = np.flatnonzero(chosen)
        index = index[np.argsort(rows["k"][index], kind="stable")]
        for final in (0, 1):
            part = np.zeros(len(index), JOINED)
            part["topic"], part["partition"], part["final"], part["row"] = topic, partition[index], final, index
            part["stream"], part["seq"], part["seen_ns"] = rows["stream"][index], rows["seq"][index], seen[index]
            part["content"] = rows["k"][index] * 31 + topic
            for number in range(2):
                here = part["partition"] == number
                part["offset"][here] = np.arange(int(here.sum()))
            made.append(part)
    return np.concatenate(made)


def progress(rows: np.ndarray, end_ns: int, *, every_ns: int = 200 * MS) -> np.ndarray:
    """The group commits, sample by sample, past everything whose result was seen before."""
    times = np.arange(STARTED_NS, end_ns + every_ns, every_ns)
    made = np.zeros(2 * len(times), columns.PROGRESS.dtype)
    seen = np.maximum(rows["first_output_ns"], rows["first_dlq_ns"])
    for partition in range(2):
        here = rows["in_partition"] == partition
        ended = np.maximum.accumulate(seen[here][np.argsort(rows["in_offset"][here])])
        part = made[partition * len(times) : (partition + 1) * len(times)]
        part["t_ns"], part["partition"], part["state"] = times, partition, 1
        part["committed"] = np.searchsorted(ended, times, side="right")
    return made


def evidence(injections: tuple[InjectionFacts, ...], end_ns: int) -> dict[str, np.ndarray]:
    """Canaries that rise by 400 ms while an injection lasts, and a target connected to everything all the time."""
    sent = np.arange(STARTED_NS, end_ns, 100 * MS)
    slow = np.zeros(len(sent), bool)
    for one in injections:
        slow |= (sent >= one.call_ns) & (sent < one.clear_high_ns)
    pings = np.zeros(len(sent), columns.CANARIES.dtype)
    pings["path"], pings["probe"], pings["sent_ns"] = columns.Path.PROXIED, Probe.PING, sent
    pings["done_ns"] = sent + np.where(slow, 401 * MS, MS) + (sent // (100 * MS) % 3) * 100_000
    direct = pings.copy()
    direct["path"], direct["done_ns"] = columns.Path.DIRECT, sent + MS
    sockets = np.zeros(len(sent), columns.EXPOSURE.dtype)
    sockets["t_ns"], sockets["proxied"] = sent, 3
    return {"canaries": np.concatenate((pings, direct)), "exposure": sockets}


def verdict_of(written: Written, name: str, *, unlimited: bool = False) -> Verdict:
    """One verifier's verdict over a history."""
    case = open_case(written)
    return run_verifier(case.unlimited() if unlimited else case, written, named(name))


def named(name: str) -> Verifier:
    """A bundled verifier."""
    return next(verifier for verifier in VERIFIERS if verifier.name == name)


def plain() -> Written:
    """A right run without faults, small."""
    return history(plan=segments(rate_hz=40))


def faulted() -> Written:
    """A right run with one fault, small."""
    return history(plan=segments(rate_hz=40), injections=(injection(),))


def identity_of(written: Written, row: int) -> tuple[int, int]:
    """(stream, seq) of a row."""
    return (int(written.rows["stream"][row]), int(written.rows["seq"][row]))


def found(written: Written, verifier: str, anomaly: str) -> tuple[Grade, set[tuple[int, int]]]:
    """(grade, identities among the witnesses) of one class."""
    verdict = verdict_of(written, verifier, unlimited=True)
    told = [(w.stream, w.seq) for w in verdict.witnesses if w.anomaly == anomaly]
    assert len(told) == verdict.counts[anomaly]
    return verdict.grade, set(told)
