"""How fast the judge folds a journal: rows a second, with and without the certificate, and what reading costs.

    python benchmarks/verdict.py [rounds] [envelopes]

A synthetic run with one fault, everything right, so that the certificate is part of the judgement. Rows are those of
verdict.json: planned envelopes and sightings. Every stage is timed in each round; nothing is read from disk. The
history is joined anew for each verdict.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _rounds import head, show

from chaosd.experiment.plan import Segment
from chaosd.experiment.spec import Expect
from chaosd.journal.columns import ACKS, CANARIES, EXPOSURE, PROGRESS, SENDS, SIGHTINGS, Probe, Role
from chaosd.journal.columns import Path as ProbePath
from chaosd.journal.history import RunHistory
from chaosd.journal.model import DrainFacts, InjectionFacts, RunFacts, TopicFacts
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.verification.compose import Judgement, judge
from chaosd.verification.loading import load

_PARTITIONS, _STREAMS = 4, 16
_BASELINE_S, _FAULT_S, _TAIL_S = 20, 5, 15
_LATENCY_NS = 300 * MS


def run_facts(envelopes: int) -> RunFacts:
    """Facts of a run of forty seconds at whatever rate that takes."""
    interval_ns = (_BASELINE_S + _FAULT_S + _TAIL_S) * SECOND // envelopes
    segments, first, at_ns = [], 0, SECOND
    for index, (phase, length_s) in enumerate((("baseline", _BASELINE_S), ("faults", _FAULT_S), ("tail", _TAIL_S))):
        count = length_s * SECOND // interval_ns
        segments.append(Segment(index, phase, first, count, at_ns, interval_ns, _STREAMS))
        first, at_ns = first + count, at_ns + count * interval_ns
    call_ns = segments[1].start_ns
    clear_ns = segments[2].start_ns
    fault = InjectionFacts(
        id="f1", fault="latency", on="redis", params={}, planned_at_ns=call_ns, for_ns=clear_ns - call_ns,
        bite=(Proof(Source.ROUND_TRIP_MS, "redis", Relation.RISES_BY, _LATENCY_NS / MS),),
        healed=(Proof(Source.ROUND_TRIP_MS, "redis", Relation.BACK_TO_BASELINE),),
        call_ns=call_ns, returned_ns=call_ns + MS, clear_low_ns=clear_ns, clear_high_ns=clear_ns + MS, state="healed",
    )  # fmt: skip
    topics = (TopicFacts("in", Role.INPUT, _PARTITIONS), TopicFacts("out", Role.OUTPUT, _PARTITIONS))
    return RunFacts(
        run_id="bench", run_tag=1, seed=1, profile="standard", sealed=True, hash="be9c", torn=(), missing=(),
        expect=Expect(), limit_ns=5 * SECOND, hold_ns=5 * SECOND, started_ns=SECOND, ended_ns=at_ns + 5 * SECOND,
        aborted=None, segments=tuple(segments), topics=(*topics, TopicFacts("dlq", Role.DLQ, 1)), parts=("redis",),
        processes=("target",), injections=(fault,),
        drain={n: DrainFacts(n, proved=True, input_end=1 << 40, committed=1 << 40) for n in range(_PARTITIONS)},
        fresh_complete=True,
        facts=({"kind": "generator_stopped", "t_ns": at_ns}, {"kind": "send_intended", "t_ns": SECOND, "upto": first}),
    )  # fmt: skip


def columns(run: RunFacts) -> dict[str, np.ndarray]:
    """What generator and tap would have written of it."""
    count = sum(segment.count for segment in run.segments)
    k = np.arange(count)
    due = np.concatenate([s.start_ns + np.arange(s.count) * s.interval_ns for s in run.segments])
    sends, acks = np.zeros(count, SENDS.dtype), np.zeros(count, ACKS.dtype)
    for rows in (sends, acks):
        rows["stream"], rows["seq"] = k % _STREAMS, k // _STREAMS
    sends["due_ns"], sends["sent_ns"] = due, due + MS // 10
    acks["partition"], acks["acked_ns"] = sends["stream"] % _PARTITIONS, due + MS
    # Streams take turns, so partition p gets every fourth envelope in order.
    acks["offset"] = k // _STREAMS * (_STREAMS // _PARTITIONS) + k % _STREAMS // _PARTITIONS
    seen = np.zeros(4 * count, SIGHTINGS.dtype)
    for part, (topic, final) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        rows = seen[part * count : (part + 1) * count]
        rows["topic"], rows["final"] = topic, final
        for name in ("stream", "seq", "partition", "offset"):
            rows[name] = acks[name]
        rows["seen_ns"] = due + (1 + 20 * topic) * MS + final * 60 * SECOND
        rows["content"], rows["origin_partition"], rows["origin_offset"] = k * 31 + topic, -1, -1
    times = np.arange(run.started_ns, run.ended_ns or 0, 200 * MS)
    progress = np.zeros(len(times) * _PARTITIONS, PROGRESS.dtype)
    for partition in range(_PARTITIONS):
        rows = progress[partition * len(times) : (partition + 1) * len(times)]
        mine = np.flatnonzero(acks["partition"] == partition)
        rows["t_ns"], rows["partition"], rows["state"] = times, partition, 1
        rows["committed"] = np.searchsorted(due[mine] + 21 * MS, times, side="right")
    return {"sends": sends, "acks": acks, "sightings": seen, "progress": progress, **evidence(run)}


def evidence(run: RunFacts) -> dict[str, np.ndarray]:
    """Canaries that rise while the fault is in force, and a target that stays connected."""
    (fault,) = run.injections
    sent = np.arange(run.started_ns, run.ended_ns or 0, 100 * MS)
    canaries, exposure = np.zeros(len(sent), CANARIES.dtype), np.zeros(len(sent), EXPOSURE.dtype)
    slow = (sent >= fault.call_ns) & (sent < fault.clear_high_ns)
    canaries["path"], canaries["probe"], canaries["sent_ns"] = ProbePath.PROXIED, Probe.PING, sent
    canaries["done_ns"] = sent + MS + slow * _LATENCY_NS
    exposure["t_ns"], exposure["proxied"] = sent, 1
    return {"canaries": canaries, "exposure": exposure}


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock, and of all cores together; what else runs on the machine is in the first alone."""

    wall_s: float
    cpu_s: float


def timed(act: Callable[[], object]) -> Took:
    """What a piece of work took."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    envelopes = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    run = run_facts(envelopes)
    data = columns(run)
    verifiers = [source.verifier for source in load(Path(__file__).resolve().parents[1] / "verifiers")]
    rows = sum(segment.count for segment in run.segments) + len(data["sightings"])
    joins, plain, whole, certified = [], [], [], []
    for number in range(rounds):
        for certificate in (number % 2 == 0, number % 2 == 1):  # neither always has what the other left in the caches
            history = RunHistory(run, data)
            joins.append(timed(lambda h=history: list(h.partitions())))
            told: list[Judgement] = []
            took = timed(lambda h=history, c=certificate, t=told: t.append(judge(h, verifiers, with_certificate=c)))
            (whole if certificate else plain).append(took)
            certified += [one.certificate for one in told if one.certificate]
    head()
    show(f"join of {rows:,} rows", [rows / one.wall_s / 1e6 for one in joins], "M rows/s", "-")
    show("verdict without certificate", [rows / one.wall_s / 1e6 for one in plain], "M rows/s", "≥ 20")
    pairs = list(zip(whole, plain, strict=True))
    show("verdict with certificate, against without", [a.wall_s / b.wall_s for a, b in pairs], "x", "≤ 2")
    show("the same in processor time", [a.cpu_s / b.cpu_s for a, b in pairs], "x", "-")
    print(f"certificate: {certified[-1].noticed} of {certified[-1].planted} plants noticed")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
