"""A run on servers that others run: judged like any other, and nothing of chaosd's is left there afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from live_run import LiveRun, all_is_well, experiment, facts, living
from waits import until

from chaosd.process import spawn
from chaosd.stack.ports import Ports
from chaosd.stack.stack import Stack
from chaosd.testbed import topics

LATENCY = "latency, on: redis, latency: 100ms"


@pytest.fixture
async def stack_file(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The session's stack, told as if it were another's. Two of its proxies are missing; Kafka's is there."""
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    spare, direct = Ports().chosen(), stack.endpoints.direct
    for name in ("redis", "postgres"):
        await stack.toxiproxy.delete_proxy(name)
    inner = next(proxy.upstream for proxy in stack.proxies() if proxy.part == "kafka")
    sections = {
        "redis": f'{{direct: "{direct.redis}", proxied: "127.0.0.1:{spare.redis_proxied}"}}',
        "kafka": f'{{direct: "{direct.kafka}", proxied: "{stack.endpoints.proxied.kafka}", upstream: "{inner}"}}',
        "postgres": f'{{direct: "127.0.0.1:{direct.postgres.port}", proxied: "127.0.0.1:{spare.postgres_proxied}"}}',
        "toxiproxy": f'"{stack.part("toxiproxy").address}"',
    }
    path = tmp_path / "stack.yaml"
    lines = "".join(f"  {name}: {text}\n" for name, text in sections.items())
    path.write_text(f"stack:\n  provider: external\n{lines}")
    yield str(path)
    for name in ("redis", "postgres"):
        await stack.toxiproxy.delete_proxy(name)
    await stack.repopulate()


async def names(stack: Stack) -> set[str]:
    async with topics.admin(str(stack.endpoints.direct.kafka)) as client:
        return set(await client.list_topics())


async def left_as_it_was(stack: Stack, before: set[str], state: Path) -> None:
    """What chaosd made is gone, what was there is there, and no process or file of the run is left."""
    proxies = await stack.toxiproxy.list()
    assert set(proxies) == {"kafka-1"}
    assert proxies["kafka-1"].enabled
    assert proxies["kafka-1"].toxics == ()
    assert await names(stack) - {"__consumer_offsets"} == before - {"__consumer_offsets"}
    assert living(state) == []
    assert [*(state / "testbeds").glob("*"), *(state / "leases").glob("*")] == []


async def chaosd(folder: Path, *arguments: str) -> spawn.Finished:
    argv = (sys.executable, "-m", "chaosd", *arguments)
    recipe = spawn.Recipe(argv, dict(os.environ), str(folder), str(folder / "out.log"))
    return await asyncio.to_thread(spawn.run, recipe, 120)


async def test_a_run_on_an_external_stack_passes_and_leaves_what_it_found(stack, stack_file, tmp_path):
    before = await names(stack)
    given = experiment(tmp_path, LATENCY, "2s", rate=200, within="5s", baseline="3s")
    options = ("--runs-dir", "runs", "--profile", "quick", "--plain", "--skip-preflight")
    ended = await chaosd(tmp_path, "run", given, "--stack-file", stack_file, *options)
    assert ended.code in {0, 3}, ended.output
    verdict = json.loads(next((tmp_path / "runs").glob("*/verdict.json")).read_text())
    assert all_is_well(verdict), ended.output
    assert verdict["faults"][0]["bite"] == "proved"
    await left_as_it_was(stack, before, tmp_path / "state")
    for part in ("redis", "kafka", "postgres"):
        await stack.ready(part)


async def test_a_conductor_killed_on_an_external_stack_leaves_it_as_it_was(stack, stack_file, tmp_path):
    before = await names(stack)
    given = experiment(tmp_path, "latency, on: kafka, latency: 100ms")
    run = await LiveRun.begin(tmp_path, given, stack_file=stack_file)
    listening = asyncio.create_task(run.listen())
    try:
        await run.reaches("fault", state="injected")
        assert (await stack.toxiproxy.list())["kafka-1"].toxics
        os.kill(run.handle.pid, 9)
        await until(lambda: facts(run.run_dir, "watchdog", "torn_down"), "the end of the testbed")
        await run.leaves_nothing()
    finally:
        await run.handle.close()
        await asyncio.wait({listening})
    assert facts(run.run_dir, "watchdog", "lease_undone")[0]["ok"]
    await left_as_it_was(stack, before, tmp_path / "state")


async def test_a_fault_that_only_an_own_stack_can_have_is_refused_before_anything_starts(stack_file, tmp_path):
    given = experiment(tmp_path, "restart, on: redis", "1s")
    ended = await chaosd(tmp_path, "run", given, "--stack-file", stack_file, "--runs-dir", "runs", "--plain")
    assert ended.code == 2, ended.output
    assert "needs a stack that can restart" in ended.output
    assert "--stack embedded" in ended.output
    assert list((tmp_path / "state" / "testbeds").glob("*")) == []
