"""A ramp is where its window says it is, however long each step takes to be told to Toxiproxy."""

from __future__ import annotations

import asyncio
from random import Random
from types import SimpleNamespace

import pytest

from chaosd.faults import network
from chaosd.faults.fault import Force
from chaosd.faults.table import FAULTS
from chaosd.kernel.clock import SECOND, SystemClock

CLOCK = SystemClock()
LASTS_S = 1.0


async def steps(monkeypatch: pytest.MonkeyPatch, fault: str, words: dict, update_s: float) -> list[tuple[float, int]]:
    """(share of the window that had passed, what was set) of each step, where an update takes `update_s`."""
    told: list[tuple[float, int]] = []
    began_ns = CLOCK.now_ns()

    async def update(bench: object, memo: object, tag: str, wanted: list[network.Wanted]) -> None:
        (value,) = wanted[0].attributes.values()
        told.append(((CLOCK.now_ns() - began_ns) / SECOND / LASTS_S, value))
        await asyncio.sleep(update_s)

    monkeypatch.setattr(network, "update", update)
    driven, force = FAULTS[fault], Force(Random(1), int(LASTS_S * SECOND))
    work = driven.during(SimpleNamespace(), "redis", driven.params.model_validate(words), {}, "t", force)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work, LASTS_S)
    return told


async def test_a_delay_that_is_told_slowly_keeps_up_with_its_window(monkeypatch):
    told = await steps(monkeypatch, "latency", {"latency": {"from": "0ms", "to": "60ms"}}, update_s=0.15)
    assert len(told) >= 2
    # Each is set to the middle of its step, so it is ahead of the line when it is told.
    assert all(value >= round(60 * min(1.0, passed)) for passed, value in told)


async def test_a_cap_that_is_told_slowly_keeps_up_with_its_window(monkeypatch):
    monkeypatch.setattr(network, "_RATE_STEP_S", 0.2)
    told = await steps(monkeypatch, "bandwidth", {"rate": {"from": "10KB/s", "to": "100KB/s"}}, update_s=0.15)
    assert len(told) >= 2
    assert all(value >= round(10 + 90 * min(1.0, passed)) for passed, value in told)
