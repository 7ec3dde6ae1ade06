"""A run that ends before its time, or loses a process that guards it: healed within a second, told, never a PASS.

All share one kept testbed, which has to be whole after each of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from live_run import (
    LiveRun,
    all_is_well,
    child_of,
    command,
    experiment,
    facts,
    judged,
    kept_testbed,
    kill,
    kinds,
    living,
)
from waits import until

from chaosd.kernel.clock import SECOND
from chaosd.testbed.testbed import Testbed

NAME = "cut-short"
LATENCY = "latency, on: redis, latency: 200ms"


@pytest.fixture(scope="module")
async def bed(tmp_path_factory) -> AsyncIterator[Testbed]:
    async with kept_testbed(NAME, tmp_path_factory.mktemp("cut-short")) as testbed:
        yield testbed


@asynccontextmanager
async def injected(folder: Path, experiment_file: str) -> AsyncIterator[LiveRun]:
    """A run on the kept testbed whose fault is in force."""
    run = await LiveRun.begin(folder, experiment_file, testbed=NAME, keep=True, owner_pid=os.getpid())
    listening = asyncio.create_task(run.listen())
    try:
        await run.reaches("fault", state="injected")
        yield run
    finally:
        await run.handle.close()
        await asyncio.wait({listening})


async def is_whole(bed: Testbed) -> None:
    """Nothing is broken on the testbed, all of its parts are up, and nothing of the run is there any more."""
    state = bed.directory.parents[1]
    assert list((state / "leases").glob("*")) == []
    assert all(one.enabled and not one.toxics for one in (await bed.stack.toxiproxy.list()).values())
    assert all(bed.stack.alive(part) for part in bed.stack.record.parts)
    await until(
        lambda: not [line for line in living(state) if "chaosd.traffic" in line or "chaosd.conductor" in line],
        "the end of the run's processes",
    )


async def healed_since(run: LiveRun, since_ns: int) -> int:
    """How long after a moment the last trace of the fault was gone, in ns."""
    told = await until(lambda: facts(run.run_dir, kind="fault_healed"), "the heal")
    return int(told[0]["clear_high_ns"]) - since_ns


@pytest.mark.parametrize("name", ["generator", "tap"])
async def test_a_killed_instrument_ends_the_run_healed_and_undecided(bed, tmp_path, name):
    async with injected(tmp_path, experiment(tmp_path, LATENCY)) as run:
        killed_ns = kill(child_of(run.handle.pid, f"chaosd.traffic.{name}"))
        assert await healed_since(run, killed_ns) < SECOND
        assert facts(run.run_dir, kind="heal_intended")[0]["t_ns"] - killed_ns < SECOND
        await run.reaches("verdict")
        assert await run.ends() == 5
    assert facts(run.run_dir, kind="process_died")[0]["process"] == name
    await is_whole(bed)
    await judged(tmp_path, run.run_dir, f"{name}_died")


async def test_a_killed_watchdog_is_replaced_and_spoils_nothing(bed, tmp_path):
    given = experiment(tmp_path, LATENCY, "3s", rate=200, within="5s", baseline="3s")
    async with injected(tmp_path, given) as run:
        killed_ns = kill(facts(run.run_dir, kind="watchdog_armed")[0]["pid"])
        again = (await until(lambda: facts(run.run_dir, kind="watchdog_respawned"), "another watchdog"))[0]
        assert again["t_ns"] > killed_ns
        verdict = await run.reaches("verdict")
        assert all_is_well(verdict), verdict["reasons"]
        assert await run.ends() == (0 if verdict["verdict"] == "PASS" else 3)
    await is_whole(bed)


async def test_a_surface_that_is_gone_ends_the_run_in_order(bed, tmp_path):
    async with injected(tmp_path, experiment(tmp_path, LATENCY)) as run:
        gone_ns = time.monotonic_ns()
        closing = asyncio.create_task(run.handle.close())
        assert await healed_since(run, gone_ns) < SECOND
        await closing
    assert "sealed" in kinds(facts(run.run_dir))
    await is_whole(bed)
    await judged(tmp_path, run.run_dir, "aborted")


async def test_the_kill_switch_heals_ends_with_its_reason_and_lets_nothing_begin(bed, tmp_path):
    async with injected(tmp_path, experiment(tmp_path, LATENCY)) as run:
        halted_ns = time.monotonic_ns()
        ended = await command(tmp_path, "halt", "smoke")
        assert ended.code == 0, ended.output
        assert "nothing is broken" in ended.output
        # The command itself has to start, on a machine that is busy with a run.
        assert await healed_since(run, halted_ns) < 10 * SECOND
        await run.reaches("verdict")
        assert await run.ends() == 5
    assert facts(run.run_dir, kind="aborted")[0]["reason"] == "chaosd is halted: smoke"
    await is_whole(bed)
    refused = await command(tmp_path, "run", experiment(tmp_path, LATENCY), "--plain")
    assert refused.code == 5
    assert "chaosd is halted: smoke" in refused.output
    assert (await command(tmp_path, "resume")).code == 0
    await judged(tmp_path, run.run_dir, "aborted")


async def test_a_probe_that_says_no_heals_and_ends_the_run_with_its_reason(bed, tmp_path):
    fine = tmp_path / "production-is-fine"
    fine.touch()
    path = Path(experiment(tmp_path, LATENCY))
    script = f"import os, sys; sys.exit(not os.path.exists({str(fine)!r}) and 'production hurts')"
    guard = f"{{command: {json.dumps([sys.executable, '-S', '-c', script])}, every: 200ms, timeout: 20s}}"
    path.write_text(path.read_text() + f"abort_when:\n  probes: [{guard}]\n")
    async with injected(tmp_path, str(path)) as run:
        fine.unlink()
        await until(lambda: facts(run.run_dir, kind="fault_healed"), "the heal")
        verdict: dict[str, Any] = await run.reaches("verdict")
        assert await run.ends() == 5
    tripped = facts(run.run_dir, kind="guard_tripped")[0]
    assert facts(run.run_dir, kind="heal_intended")[0]["t_ns"] - tripped["t_ns"] < SECOND
    await is_whole(bed)
    assert verdict["verdict"] == "INCONCLUSIVE"
    told = json.loads((run.run_dir / "verdict.json").read_text())
    assert "abort_when.probes[0]" in told["setting"]["aborted"]
    assert "production hurts" in told["setting"]["aborted"]
    assert "production hurts" in (run.run_dir / "report.html").read_text()
