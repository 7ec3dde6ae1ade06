"""The reference pipeline over failures of its parts: nothing is lost, and it is back within five seconds of a heal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pipeline_bench import Given, PipelineBench, running, tick

RATE_HZ = 200
RECOVERY_S = 5.0


@pytest.fixture(scope="module")
async def bench(stack, tmp_path_factory) -> AsyncIterator[PipelineBench]:
    async with running(stack, tmp_path_factory.mktemp("recovery")) as bench:
        warm = [tick(f"WARM-{number}") for number in range(50)]
        await bench.send(warm)
        await bench.answered(warm)
        yield bench


@asynccontextmanager
async def traffic(bench: PipelineBench) -> AsyncIterator[list[Given]]:
    """Ticks at a steady rate, also while the body waits. The list grows as they are sent."""
    sent: list[Given] = []
    stop = asyncio.Event()

    async def flow() -> None:
        began = time.monotonic()
        while not stop.is_set():
            due = int((time.monotonic() - began) * RATE_HZ) - len(sent)
            batch = [tick(f"FLOW-{number % 8}") for number in range(due)]
            await bench.send(batch)
            sent.extend(batch)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        group.create_task(flow())
        try:
            yield sent
        finally:
            stop.set()


async def judge(bench: PipelineBench, sent: list[Given]) -> None:
    """All that was sent until now is answered within the limit, once each but for those in flight."""
    due = list(sent)
    assert due
    await bench.answered(due, within_s=RECOVERY_S)


@pytest.mark.parametrize(("part", "down_s"), [("redis", 2.0), ("postgres", 1.0), ("kafka-1", 1.0)])
async def test_a_part_that_is_down(bench, part, down_s):
    async with traffic(bench) as sent:
        await asyncio.sleep(0.3)
        await bench.stack.toxiproxy.set_enabled(part, enabled=False)
        try:
            await asyncio.sleep(down_s)
        finally:
            await bench.stack.toxiproxy.set_enabled(part, enabled=True)
        await judge(bench, sent)
    await judge(bench, sent)


@pytest.mark.parametrize(
    "parts", [("redis",), ("postgres",), ("kafka-1",), ("redis", "postgres", "kafka-1")], ids="+".join
)
async def test_a_network_that_swallows_everything(bench, parts):
    """All three at once for longer than any of the pipeline's own limits."""
    async with traffic(bench) as sent:
        await asyncio.sleep(0.3)
        toxics = [(part, f"test-{way}", way) for part in parts for way in ("upstream", "downstream")]
        for part, name, way in toxics:
            await bench.stack.toxiproxy.add_toxic(part, name, "timeout", way, {"timeout": 0})
        try:
            await asyncio.sleep(1 if len(parts) == 1 else 4)
        finally:
            for part, name, _ in toxics:
                await bench.stack.toxiproxy.remove_toxic(part, name)
        await judge(bench, sent)
    await judge(bench, sent)


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
@pytest.mark.parametrize("part", ["redis", "postgres", "kafka", "toxiproxy"])
async def test_a_part_that_comes_back_with_its_data(bench, part, kill):
    async with traffic(bench) as sent:
        await asyncio.sleep(0.3)
        await bench.stack.stop_part(part, kill=kill)
        await bench.stack.start_part(part)
        await judge(bench, sent)
    await judge(bench, sent)


@pytest.mark.parametrize("part", ["redis", "postgres", "kafka-1"])
async def test_slow_answers_slow_the_pipeline_and_no_more(bench, part):
    async with traffic(bench) as sent:
        await bench.stack.toxiproxy.add_toxic(part, "test-slow", "latency", "downstream", {"latency": 300})
        try:
            await asyncio.sleep(1)
        finally:
            await bench.stack.toxiproxy.remove_toxic(part, "test-slow")
        await judge(bench, sent)
    await judge(bench, sent)
