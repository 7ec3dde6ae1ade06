"""How fast the judge folds a journal: rows a second, with and without the certificate, and what reading costs.

    python benchmarks/verdict.py [rounds] [envelopes]

A synthetic run with one fault, everything right, so that the certificate is part of the judgement. Rows are those of
verdict.json: planned envelopes and sightings. Every stage is timed in each round; nothing is read from disk.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _rounds import head, show

from chaosd.experiment.plan import Segment
from chaosd.experiment.spec import Expect
from chaosd.journal.columns import ACKS, PROGRESS, SENDS, SIGHTINGS, Role
from chaosd.journal.history import RunHistory
from chaosd.journal.model import DrainFacts, InjectionFacts, RunFacts, TopicFacts
from chaosd.kernel.clock import MS, SECOND
from chaosd.verification.case import open_case
from chaosd.verification.certificate import certify
from chaosd.verification.compose import judge
from chaosd.verification.cores import crew, fold
from chaosd.verification.loading import load

_PARTITIONS, _STREAMS = 4, 16
_BASELINE_S, _FAULT_S, _TAIL_S = 20, 5, 15


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
        id="f1", fault="latency", on="redis", params={}, planned_at_ns=call_ns, for_ns=clear_ns - call_ns, bite=(),
        healed=(), call_ns=call_ns, returned_ns=call_ns + MS, clear_low_ns=clear_ns, clear_high_ns=clear_ns + MS,
        state="healed",
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
    return {"sends": sends, "acks": acks, "sightings": seen, "progress": progress}


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    envelopes = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    run = run_facts(envelopes)
    data = columns(run)
    verifiers = [source.verifier for source in load(Path(__file__).resolve().parents[1] / "verifiers")]
    rows = sum(segment.count for segment in run.segments) + len(data["sightings"])
    joined, plain, ratio, certified = [], [], [], []
    for _ in range(rounds):
        history = RunHistory(run, data)
        joined.append(rows / timed(lambda h=history: list(h.partitions())) / 1e6)
        took = timed(lambda h=history: judge(h, verifiers, with_certificate=False))
        case, shares = open_case(history), tuple(history.partitions())
        with crew(rows) as pool:  # what judge() hands on
            folds = fold(pool, case, shares, verifiers)
        more = timed(lambda c=case, h=history, f=folds: certified.append(certify(c, h, verifiers, f)))
        plain.append(rows / took / 1e6)
        ratio.append((took + more) / took)
    head()
    show(f"join of {rows:,} rows", joined, "M rows/s", "-")
    show("verdict without certificate", plain, "M rows/s", "≥ 20")
    show("verdict with certificate, against without", ratio, "x", "≤ 2")
    print(f"certificate: {certified[-1].noticed} of {certified[-1].planted} plants noticed")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
