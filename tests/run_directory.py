"""Writes a whole run directory with the journal's own writer: 30 s at 100/s with one delay on Redis, felt and over.

What is asked to be lost has no result in either read; everything else is a correct pipeline's work.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chaosd.experiment.plan import Segment, expand
from chaosd.experiment.spec import Expect, Recovery
from chaosd.journal import columns as c
from chaosd.journal.stream import Columns
from chaosd.journal.write import Facts, seal
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.proof import Proof, Relation, Source

SEED, STREAMS, PARTITIONS = 7, 4, 2
T0 = 1_000 * SECOND
TRAFFIC_NS = T0 + SECOND
RUN_ID = "20250131T120000-redis-delay-1f2e3d"
TOPICS = (("ticks", "input"), ("signals", "output"), ("ticks.dlq", "dlq"))
POISON = (("not_json", 0.02),)
FAULT_NS, HEAL_NS = TRAFFIC_NS + 14 * SECOND, TRAFFIC_NS + 18 * SECOND
END_NS = TRAFFIC_NS + 36 * SECOND


class FakeClock:
    """A clock that a test sets."""

    def __init__(self, now_ns: int = T0) -> None:
        self.ns = now_ns

    def now_ns(self) -> int:
        return self.ns

    def wall_ns(self) -> int:
        return 1_738_324_800 * SECOND + self.ns - T0


def segments() -> tuple[Segment, ...]:
    pieces = (("warmup", 200), ("baseline", 1200), ("faults", 400), ("tail", 1300))
    made: list[Segment] = []
    for phase, count in pieces:
        first = sum(s.count for s in made)
        start = TRAFFIC_NS + first * 10 * MS
        made.append(Segment(len(made), phase, first, count, start, 10 * MS, STREAMS, POISON))
    return tuple(made)


def write(
    run_dir: Path, *, lost: int = 0, sealed: bool = True, title: str = "Redis answers late", **experiment: Any
) -> Path:
    """Make the directory; `lost` envelopes of the fault's time get no result. `experiment` adds keys to the fact."""
    run_dir.mkdir(parents=True)
    clock = FakeClock()
    rows = np.concatenate([expand(segment, SEED) for segment in segments()])
    facts = Facts(run_dir, "conductor", clock)
    _conductor(facts, clock, {"title": title, **experiment})
    for process, kinds in (
        ("generator", [("send_intended", {"stream": -1, "upto": len(rows)}), ("generator_stopped", {"pending": 0})]),
        ("tap", [("tap_started", {"starts": {name: [0, 0] for name, _ in TOPICS}}), ("tap_stopped", {})]),
    ):
        own = Facts(run_dir, process, clock)
        for kind, fields in kinds:
            own.append(kind, **fields)
        own.close()
    _columns(run_dir, rows, lost)
    if sealed:
        clock.ns = END_NS + SECOND
        seal(run_dir, clock, facts)
    else:
        facts.close()
    return run_dir


def _conductor(facts: Facts, clock: FakeClock, experiment: dict[str, Any]) -> None:
    lines = [*_beginning(clock, experiment), *_injection(), *_ending()]
    for t_ns, kind, fields in sorted(lines, key=lambda line: line[0]):
        clock.ns = t_ns
        facts.append(kind, **fields)


Line = tuple[int, str, dict[str, Any]]


def _beginning(clock: FakeClock, experiment: dict[str, Any]) -> list[Line]:
    started = {
        "version": 1,
        "run_id": RUN_ID,
        "run_tag": 99,
        "seed": SEED,
        "profile": "standard",
        "wall_ns": clock.wall_ns(),
        "streams": STREAMS,
        "rate_hz": 100.0,
        "partitions": PARTITIONS,
        "topics": [{"name": name, "role": role, "partitions": PARTITIONS} for name, role in TOPICS],
        "parts": ["redis", "postgres", "kafka"],
        "processes": ["redis", "postgres", "kafka", "toxiproxy", "target"],
        "experiment": {"name": "redis-delay", "tags": ["redis"], **experiment},
        "expect": Expect(recovery=Recovery(within_ns=5 * SECOND)).to_json(),
        "limit_ns": 5 * SECOND,
        "hold_ns": 5 * SECOND,
        "stack": {"redis": {"version": "7.2", "origin": "test"}},
        "target": {"name": "reference", "fifo": False},
        "command": "chaosd run experiment redis-delay --seed 7",
    }
    phases = (("warmup", TRAFFIC_NS), ("baseline", TRAFFIC_NS + 2 * SECOND), ("faults", FAULT_NS), ("hold", HEAL_NS))
    return [
        (T0, "run_started", started),
        *((s.start_ns, "segment", asdict(s)) for s in segments()),
        *((at_ns, "phase", {"name": name}) for name, at_ns in phases),
    ]


def _injection() -> list[Line]:
    delay = Proof(Source.ROUND_TRIP_MS, "redis", Relation.RISES_BY, 200.0)
    gone = Proof(Source.ROUND_TRIP_MS, "redis", Relation.BACK_TO_BASELINE)
    planned = {
        "fault": "latency",
        "on": "redis",
        "params": {"latency": "200ms"},
        "at_ns": FAULT_NS,
        "for_ns": 4 * SECOND,
        "bite": [asdict(delay)],
        "healed": [asdict(gone)],
        "voids": [],
    }
    done = {"call_ns": FAULT_NS, "returned_ns": FAULT_NS + MS, "readback": {}}
    clear = {"clear_low_ns": HEAL_NS, "clear_high_ns": HEAL_NS + MS, "by": "conductor", "evidence": {}}
    return [
        (T0 + 1, "fault_planned", {"id": "latency-redis", **planned}),
        (FAULT_NS, "fault_intended", {"id": "latency-redis", "lease": "l1"}),
        (FAULT_NS + MS, "fault_injected", {"id": "latency-redis", **done}),
        (HEAL_NS + MS, "fault_healed", {"id": "latency-redis", **clear}),
    ]


def _ending() -> list[Line]:
    ends = [{"partition": n, "proved": True, "input_end": 1600, "committed": 1600} for n in range(PARTITIONS)]
    times = {"limit_ns": 60 * SECOND, "started_ns": END_NS - SECOND, "ended_ns": END_NS}
    fresh = {"complete": True, "ends": {name: [1600, 1600] for name, _ in TOPICS}, "starts": {}}
    return [
        (END_NS, "drain", {**times, "partitions": ends}),
        (END_NS, "fresh_read", fresh),
        (END_NS, "run_ended", {"reason": "complete"}),
    ]


def _columns(run_dir: Path, rows: np.ndarray, lost: int) -> None:
    n = len(rows)
    due = rows["due_ns"]
    partition = rows["stream"] % PARTITIONS
    offset = np.zeros(n, np.int64)
    for number in range(PARTITIONS):
        offset[partition == number] = np.arange(int((partition == number).sum()))
    slow = np.where((due >= FAULT_NS) & (due < HEAL_NS), 220 * MS, 0)
    seen = due + 15 * MS + (np.arange(n) % 7) * MS + slow
    sends, acks = np.zeros(n, c.SENDS.dtype), np.zeros(n, c.ACKS.dtype)
    for target in (sends, acks):
        target["stream"], target["seq"] = rows["stream"], rows["seq"]
    sends["due_ns"], sends["sent_ns"] = due, due + MS // 2
    acks["partition"], acks["offset"], acks["acked_ns"] = partition, offset, due + 3 * MS
    _store(run_dir, "generator", c.SENDS, sends)
    _store(run_dir, "generator", c.ACKS, acks)
    dropped = np.flatnonzero((due >= FAULT_NS) & (rows["kind"] == 0))[:lost]
    _store(run_dir, "tap", c.SIGHTINGS, _sightings(rows, partition, offset, seen, dropped))
    _store(run_dir, "tap", c.PROGRESS, _progress(due, partition))
    _store(run_dir, "conductor", c.CANARIES, _canaries())
    exposure = np.zeros(120, c.EXPOSURE.dtype)
    exposure["t_ns"], exposure["proxied"] = TRAFFIC_NS + np.arange(120) * 300 * MS, 3
    _store(run_dir, "conductor", c.EXPOSURE, exposure)


def _sightings(
    rows: np.ndarray, partition: np.ndarray, offset: np.ndarray, seen: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    made = []
    for topic, chosen in (
        (0, np.arange(len(rows))),
        (1, np.setdiff1d(np.flatnonzero(rows["kind"] == 0), dropped)),
        (2, np.flatnonzero(rows["kind"] > 0)),
    ):
        part = np.zeros(len(chosen), c.SIGHTINGS.dtype)
        part["topic"], part["partition"] = topic, partition[chosen]
        part["stream"], part["seq"] = rows["stream"][chosen], rows["seq"][chosen]
        part["seen_ns"] = seen[chosen] if topic else rows["due_ns"][chosen] + 4 * MS
        part["content"] = chosen + 1
        part["type"] = 2 if topic else 0
        part["origin_partition"] = part["origin_offset"] = -1
        for number in range(PARTITIONS):
            mine = part["partition"] == number
            part["offset"][mine] = np.arange(int(mine.sum())) if topic else offset[chosen][mine]
        if topic == 2:
            part["origin_partition"], part["origin_offset"] = partition[chosen], offset[chosen]
        fresh = part.copy()
        fresh["final"], fresh["seen_ns"] = 1, END_NS - MS
        made += [part, fresh]
    return np.concatenate(made)


def _progress(due: np.ndarray, partition: np.ndarray) -> np.ndarray:
    times = np.arange(TRAFFIC_NS, END_NS, 200 * MS)
    rows = np.zeros(len(times) * PARTITIONS, c.PROGRESS.dtype)
    for number in range(PARTITIONS):
        own = rows[number::PARTITIONS]
        own["t_ns"], own["partition"], own["state"] = times, number, 1
        ends = np.searchsorted(due[partition == number] + 300 * MS, times)
        own["committed"], own["end"] = ends, np.searchsorted(due[partition == number], times)
    return rows


def _canaries() -> np.ndarray:
    times = np.arange(TRAFFIC_NS, END_NS - SECOND, 50 * MS)
    made = []
    for part in range(3):
        for path in (c.Path.DIRECT, c.Path.PROXIED):
            rows = np.zeros(len(times), c.CANARIES.dtype)
            late = (times >= FAULT_NS) & (times < HEAL_NS) & (part == 0) & (path == c.Path.PROXIED)
            rows["on"], rows["path"], rows["sent_ns"] = part, path, times
            rows["done_ns"] = times + np.where(late, 201 * MS, MS)
            made.append(rows)
    return np.concatenate(made)


def _store(run_dir: Path, process: str, schema: c.Schema, rows: np.ndarray) -> None:
    file = Columns(run_dir, process, schema)
    file.append(rows)
    file.close()
