"""A pipeline of known recovery time: a queue that stops with the fault, starts again some time after the heal, and
catches up at its capacity. What the judge sees of it is spoiled by stalls of its own reader and by a late generator.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import histories
import numpy as np
from histories import STARTED_NS, Written, injection, verdict_of

from chaosd.kernel.clock import MS, SECOND


@dataclass(frozen=True)
class Simulated:
    """What was seen, when results really came, and when the fault was really gone."""

    written: Written
    true_ns: np.ndarray
    clear_ns: int

    def told(self) -> dict[str, Any]:
        """What the judge says of the one episode."""
        (episode,) = verdict_of(self.written, "recovery").details["episodes"]
        return episode


def simulate(seed: int, *, stalls: int = 0, late: int = 0) -> Simulated:
    """`stalls` of the judge's reader, and `late` times in which the generator sends nothing, then all at once."""
    rng = random.Random(seed)
    plan = histories.segments(rate_hz=50, phases={"warmup": 5.0, "baseline": 15.0, "faults": 5.0, "tail": 30.0})
    hole_ns = round(rng.uniform(0, 6.5) * SECOND)
    gap_ns = round(SECOND / rng.uniform(120, 400))
    base_ns = round(rng.uniform(5, 60) * MS)
    fault = injection(clear_high_ns=STARTED_NS + 25 * SECOND + rng.randrange(1, 30) * MS)
    written = histories.history(plan=plan, injections=(fault,), poison_every=rng.choice([0, 7, 25]))
    rows = written.rows
    order = np.argsort(rows["k"])
    rows["sent_ns"] = rows["due_ns"] + 100_000
    for _ in range(late):
        from_ns = STARTED_NS + rng.randrange(6, 38) * SECOND
        until_ns = from_ns + rng.randrange(100, 1500) * MS
        held = (rows["sent_ns"] >= from_ns) & (rows["sent_ns"] < until_ns)
        rows["sent_ns"][held] = until_ns
    rows["acked_ns"][order] = rows["sent_ns"][order] + [rng.randrange(MS, 4 * MS) for _ in order]
    clear_ns = rng.randrange(fault.clear_low_ns, fault.clear_high_ns + 1)
    free, true = 0, np.zeros(len(rows), np.int64)
    for row in order:
        start = max(int(rows["acked_ns"][row]), free)
        if fault.call_ns <= start < clear_ns + hole_ns:
            start = clear_ns + hole_ns
        free = start + gap_ns
        true[row] = start + base_ns + rng.randrange(2 * MS)
    seen = true.copy()
    for _ in range(stalls):
        from_ns = STARTED_NS + rng.randrange(6, 38) * SECOND
        until_ns = from_ns + rng.randrange(50, 900) * MS
        written.stall(from_ns, until_ns)
        seen[(seen >= from_ns) & (seen < until_ns)] = until_ns + 2 * MS
    for name in ("first_output_ns", "last_output_ns", "first_dlq_ns"):
        rows[name] = np.where(rows[name] >= 0, seen, -1)
    written.columns["progress"] = histories.progress(rows, int(seen.max()) + 2 * SECOND)
    return Simulated(written, true, clear_ns)


def truth(simulated: Simulated, waits_from: str) -> int:
    """R in ns by the definition, naively, from times that only the simulation knows.

    `waits_from` is `acked_ns`, which charges the generator's delays to nobody, or `due_ns`, which charges them to the
    pipeline. The interval must contain both.
    """
    rows, true = simulated.written.rows, simulated.true_ns
    starts = rows[waits_from]
    bad, base = [], rows["segment"] == 1
    latency = true - starts
    for mine in (rows["kind"] == 0, rows["kind"] > 0):
        # Like the judge: a kind without thirty results of its own shares the others'.
        of = np.sort(latency[base & mine if (base & mine).sum() >= 30 else base])
        tail = int(of[-1] if len(of) < 1000 else of[-(len(of) // 1000) - 1])
        theta = max(2 * tail, tail + 250 * MS)
        slow = mine & (latency > theta)
        bad += list(zip(starts[slow], starts[slow], strict=True))
        bad += list(zip(starts[slow] + theta, true[slow], strict=True))
    hold_ns, clear_ns = simulated.written.run.hold_ns, simulated.clear_ns
    froms, untils = np.array(bad, np.int64).reshape(-1, 2).T
    for t in sorted({clear_ns, *untils[untils >= clear_ns].tolist()}):
        if not ((froms < t + hold_ns) & (untils > t)).any():
            return t - clear_ns
    raise AssertionError("the simulation never recovers")


def check(simulated: Simulated, *, narrow: bool) -> None:
    """The interval contains the truth, and the verdict follows from it. `narrow`: nobody stalled, so it is short."""
    told = simulated.told()
    truths_ms = [truth(simulated, start) / MS for start in ("acked_ns", "due_ns")]
    assert told["low_ms"] <= min(truths_ms)
    assert told["high_ms"] is None or max(truths_ms) <= told["high_ms"]
    if narrow:
        assert told["high_ms"] - told["low_ms"] <= 100
    if told["verdict"] == "PASS":
        assert max(truths_ms) <= told["limit_ms"]
    if told["verdict"] == "FAIL":
        assert min(truths_ms) > told["limit_ms"]
