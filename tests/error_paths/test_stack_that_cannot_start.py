"""What keeps a stack or a run from starting is told in a line, with the log's end and the remedy; nothing is left."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from pathlib import Path

import pytest
from live_run import LiveRun, experiment, living

from chaosd.process import spawn
from chaosd.stack import binaries
from chaosd.testbed.testbed import tear_down

LATENCY = "latency, on: redis, latency: 200ms"


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("CHAOSD_STATE", str(folder))
    return folder


async def chaosd(folder: Path, *arguments: str, file_bytes_max: int | None = None, **env: str) -> spawn.Finished:
    """Run a command line to its end, perhaps where no file can grow beyond a size."""
    argv = [sys.executable, "-m", "chaosd", *arguments]
    if file_bytes_max is not None:
        limit = f"import os, resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes_max},) * 2)"
        argv = [sys.executable, "-c", f"{limit}; os.execv({argv[0]!r}, {argv!r})"]
    recipe = spawn.Recipe(tuple(argv), {**os.environ, **env}, str(folder), str(folder / "out.log"))
    return await asyncio.to_thread(spawn.run, recipe, 90)


def run_arguments(folder: Path) -> tuple[str, ...]:
    given = experiment(folder, LATENCY)
    return ("run", given, "--runs-dir", str(folder / "runs"), "--plain", "--skip-preflight")


def told(ended: spawn.Finished, *words: str) -> None:
    """It ended with code 2, one line that says what is wrong, and a remedy; no traceback."""
    assert ended.code == 2, ended.output
    assert "Traceback" not in ended.output
    assert "unexpected" not in ended.output
    assert sum(line.startswith("chaosd: ") for line in ended.output.splitlines()) == 1, ended.output
    assert "remedy:" in ended.output
    for word in words:
        assert word in ended.output


def nothing_left(state: Path) -> None:
    assert living(state) == []
    for folder in (state / "testbeds", state / "leases"):
        assert list(folder.glob("*")) == []


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


async def test_a_missing_binary_names_the_variable_that_points_to_it(tmp_path, state):
    missing = str(tmp_path / "nowhere" / "redis-server")
    told(await chaosd(tmp_path, *run_arguments(tmp_path), CHAOSD_REDIS_SERVER=missing), "CHAOSD_REDIS_SERVER", missing)
    nothing_left(state)


async def test_a_kafka_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path, state):
    java = binaries.java().path
    broken = script(
        tmp_path / "java",
        f'case "$1" in -version|--version) exec {java} "$@";; esac\necho "Could not reserve enough space" >&2\nexit 1',
    )
    ended = await chaosd(tmp_path, *run_arguments(tmp_path), CHAOSD_JAVA=broken)
    told(ended, "kafka ended while starting", "  | Could not reserve enough space")
    nothing_left(state)


async def test_the_same_holds_for_a_testbed_that_was_to_be_kept(tmp_path, state):
    broken = script(
        tmp_path / "redis-server", '[ "$1" = --version ] && { echo "v=7.2.0"; exit; }\necho "no luck today"\nexit 1'
    )
    given = (*run_arguments(tmp_path), "--testbed", "kept")
    told(await chaosd(tmp_path, *given, CHAOSD_REDIS_SERVER=broken), "redis ended while starting", "| no luck today")
    nothing_left(state)


async def test_a_port_in_use_is_told_with_its_owner(tmp_path, state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await chaosd(tmp_path, "stack", "up", "--port-redis", str(port))
    told(ended, f"port {port} (redis) is in use by process {os.getpid()}")
    nothing_left(state)


async def test_a_disk_without_room_for_the_stack_is_told(tmp_path, state):
    # No file may become larger than this: Kafka's prepared log does not fit.
    told(await chaosd(tmp_path, *run_arguments(tmp_path), file_bytes_max=6_000), "cannot be laid out", "make room")
    nothing_left(state)


async def test_a_place_for_runs_that_cannot_be_written_is_told(tmp_path, state):
    (tmp_path / "runs").write_text("a file")
    told(await chaosd(tmp_path, *run_arguments(tmp_path)), f"cannot be written to {tmp_path / 'runs'}")
    nothing_left(state)


async def test_a_place_for_testbeds_that_cannot_be_written_is_told(tmp_path, state):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, options in (("testbeds", ()), ("turns", ("--testbed", "b"))):
        (elsewhere / name).write_text("a file")
        ended = await chaosd(tmp_path, *run_arguments(tmp_path), *options, CHAOSD_STATE=str(elsewhere))
        told(ended, str(elsewhere / name), "CHAOSD_STATE")
    nothing_left(state)


async def test_servers_that_are_not_there_are_told_with_their_address(tmp_path, state):
    file = tmp_path / "stack.yaml"
    file.write_text(
        "stack:\n  provider: external\n"
        + "".join(
            f"  {name}: {{direct: 127.0.0.1:{port}, proxied: 127.0.0.1:{port + 1}}}\n"
            for name, port in (("kafka", 11), ("redis", 13), ("postgres", 15))
        )
        + "  toxiproxy: 127.0.0.1:17\n"
    )
    ended = await chaosd(tmp_path, *run_arguments(tmp_path), "--stack-file", str(file))
    told(ended, "kafka does not serve at 127.0.0.1:11")
    nothing_left(state)


async def test_a_disk_that_is_full_in_the_middle_of_a_fault_ends_the_run_healed(tmp_path, state):
    run = await LiveRun.begin(tmp_path, experiment(tmp_path, LATENCY))
    listening = asyncio.create_task(run.listen())
    try:
        await run.reaches("fault", state="injected")
        size = (run.run_dir / "facts-conductor.jsonl").stat().st_size
        resource.prlimit(run.handle.pid, resource.RLIMIT_FSIZE, (size, size))
        await run.ends()
        await run.leaves_nothing()
    finally:
        await run.handle.close()
        await asyncio.wait({listening})
        for directory in (state / "testbeds").glob("*"):
            await tear_down(directory)
    error = run.said("error")
    assert error is not None, run.events[-3:]
    assert "cannot write" in error["message"]
    assert error["remedy"]
    assert run.handle.code == 2
    ended = await chaosd(tmp_path, "verify", str(run.run_dir))
    assert ended.code == 3, ended.output
    assert "Traceback" not in ended.output
