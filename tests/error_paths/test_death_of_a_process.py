"""Processes of chaosd itself die in the middle of a fault: what was broken is mended, and nobody calls it a PASS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from live_run import LiveRun, child_of, command, experiment, facts, judged, kill, kinds, living
from waits import until

from chaosd.healing.recover import recover
from chaosd.process import spawn
from chaosd.stack.stack import Stack
from chaosd.testbed import record as records
from chaosd.testbed.testbed import tear_down

SECOND = 1_000_000_000
LATENCY = "latency, on: redis, latency: 200ms"
PAUSE = "pause, on: kafka"


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("CHAOSD_STATE", str(folder))
    return folder


@asynccontextmanager
async def running(folder: Path, experiment_file: str, **changes: Any) -> AsyncIterator[LiveRun]:
    """A run that is under way; whatever is left of it after the block is ended."""
    run = await LiveRun.begin(folder, experiment_file, **changes)
    listening = asyncio.create_task(run.listen())
    try:
        yield run
    finally:
        await run.handle.close()
        await asyncio.wait({listening})
        for directory in (run.state / "testbeds").glob("*"):
            await tear_down(directory)


async def test_a_killed_conductor_is_undone_within_a_second_by_the_watchdog(tmp_path):
    """At the tightest moment: it has said what it will do, and may have done it. For the others see the kill points."""
    async with running(tmp_path, experiment(tmp_path, LATENCY, "1s")) as run:
        await run.reaches("phase", name="faults")
        await until(lambda: facts(run.run_dir, kind="fault_intended"), "its intent")
        killed_ns = kill(run.handle.pid)
        died = await until(lambda: facts(run.run_dir, "watchdog", "conductor_died"), "the watchdog's notice")
        assert died[0]["t"] - killed_ns < SECOND
        await until(lambda: not run.left(), "nothing being left")
        said = facts(run.run_dir, "watchdog")
        for undone in (fact for fact in said if fact["kind"] == "lease_undone"):
            assert undone["ok"]
            assert undone["call_ns"] - killed_ns < SECOND
            assert undone["clear_high_ns"] - killed_ns < SECOND
        # A lease that the conductor closed before its death is nothing to undo.
        healed = facts(run.run_dir, kind="fault_healed")
        assert healed or "lease_undone" in kinds(said)
        assert kinds(said)[-1] == "torn_down"
        await judged(tmp_path, run.run_dir, "conductor_died")


async def test_a_conductor_killed_while_its_stack_starts_leaves_nothing(tmp_path):
    async with running(tmp_path, experiment(tmp_path, LATENCY)) as run:
        await run.reaches("phase", name="stack")
        await until(lambda: len(living(run.state, run.marker)) > 3, "the first servers")
        kill(run.handle.pid)
        await run.leaves_nothing()
        ended = await command(tmp_path, "verify", str(run.run_dir))
        assert ended.code in {2, 3}, ended.output
        assert "Traceback" not in ended.output
        assert "unexpected" not in ended.output


async def test_a_killed_conductor_leaves_a_kept_testbed_whole_and_resumes_what_was_paused(tmp_path):
    async with running(tmp_path, experiment(tmp_path, PAUSE), testbed="kept") as run:
        await run.reaches("fault", state="injected")
        kafka = Stack.open(run.state / "testbeds" / "kept").handle("kafka")
        assert spawn.state(kafka) == "T"
        killed_ns = kill(run.handle.pid)
        await until(lambda: spawn.state(kafka) != "T", "Kafka to run again", within_s=1.0)
        undone = (await until(lambda: facts(run.run_dir, "watchdog", "lease_undone"), "the undo"))[0]
        assert undone["call_ns"] - killed_ns < SECOND
        await until(lambda: not list((run.state / "leases").glob("*")), "the lease to be closed")
        stack = Stack.open(run.state / "testbeds" / "kept")
        for part in stack.record.parts:
            assert stack.alive(part)
        await judged(tmp_path, run.run_dir, "conductor_died")


async def test_what_conductor_and_watchdog_left_is_healed_by_the_next_chaosd(tmp_path):
    async with running(tmp_path, experiment(tmp_path, LATENCY)) as run:
        await run.reaches("fault", state="injected")
        assert list((run.state / "leases").glob("*"))
        os.kill(run.handle.pid, signal.SIGSTOP)  # so that it cannot replace the watchdog
        kill(facts(run.run_dir, kind="watchdog_armed")[0]["pid"])
        kill(run.handle.pid)
        await run.ends()
        assert run.left()
        done = await recover()
        assert all(one.ok for one in done), done
        await run.leaves_nothing()
        assert "latency on redis" in done[0].what
        # Nobody was left to note who died: the journal without an end says it.
        await judged(tmp_path, run.run_dir, "unsealed")


@asynccontextmanager
async def command_line(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path, str]]:
    """`chaosd run` with its fault in force: the process, the run directory, what marks its testbed."""
    given = ("run", experiment(folder, LATENCY), "--runs-dir", str(folder / "runs"), "--profile", "quick")
    with (folder / "cli.log").open("wb") as log:
        argv = (sys.executable, "-m", "chaosd", *given, "--plain", "--skip-preflight")
        cli = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        run_dir = await until(lambda: next((folder / "runs").glob("*-one-fault-*"), None), "the run directory")
        await until(lambda: facts(run_dir, kind="fault_injected"), "the injection")
        yield cli, run_dir, records.load(folder / "state" / "testbeds" / run_dir.name).marker
    finally:
        if cli.returncode is None:
            cli.kill()
            await cli.wait()
        for directory in (folder / "state" / "testbeds").glob("*"):
            await tear_down(directory)


async def left_nothing(state: Path, marker: str) -> None:
    await until(lambda: not living(state, marker), "the end of all processes")
    assert not [*(state / "testbeds").glob("*"), *(state / "leases").glob("*")]


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL])
async def test_a_command_line_interrupted_or_killed_heals_and_leaves_nothing(tmp_path, state, sig):
    async with command_line(tmp_path) as (cli, run_dir, marker):
        sent_ns = time.monotonic_ns()
        cli.send_signal(sig)
        healed = (await until(lambda: facts(run_dir, kind="fault_healed"), "the heal"))[0]
        assert healed["clear_high_ns"] - sent_ns < SECOND
        async with asyncio.timeout(90):
            assert await cli.wait() == (-sig if sig is signal.SIGKILL else 5)
        await left_nothing(state, marker)
        assert "Traceback" not in (tmp_path / "cli.log").read_text()
        await judged(tmp_path, run_dir, "aborted")


async def test_a_command_line_tells_the_death_of_its_conductor_and_judges_what_there_is(tmp_path, state):
    async with command_line(tmp_path) as (cli, run_dir, marker):
        killed_ns = kill(child_of(cli.pid, "chaosd.conductor"))
        undone = (await until(lambda: facts(run_dir, "watchdog", "lease_undone"), "the undo"))[0]
        assert undone["clear_high_ns"] - killed_ns < SECOND
        async with asyncio.timeout(90):
            assert await cli.wait() == 5
        await left_nothing(state, marker)
        said = (tmp_path / "cli.log").read_text()
        assert "the conductor was killed by SIGKILL; all is healed" in said
        assert "INCONCLUSIVE" in said
        assert "Traceback" not in said
        await judged(tmp_path, run_dir, "conductor_died")
