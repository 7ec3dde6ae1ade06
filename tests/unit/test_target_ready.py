"""A process of a target file serves when all that it names holds, and is started again only when it may be."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from chaosd.conductor import restarts
from chaosd.kernel.errors import StackError, UsageError
from chaosd.process import patience, spawn
from chaosd.target import ready
from chaosd.target.progress import GroupState
from chaosd.testbed.record import Replica
from chaosd.traffic import identify

NOWHERE = "127.0.0.1:1"
ME = spawn.handle_of(os.getpid())


@pytest.fixture
async def server():
    """A place that answers HTTP: 204 for /good, 503 for anything else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n" if b"/good" in line else b"HTTP/1.1 503 Busy\r\n\r\n")
        writer.close()

    made = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with made:
        yield f"127.0.0.1:{made.sockets[0].getsockname()[1]}"


async def lacks(file: Path, **named: str) -> str:
    async with ready._Groups(NOWHERE) as groups:
        return await ready._lacks(file, len("old serving\n"), named, groups)


async def test_all_that_is_named_must_hold(tmp_path, server):
    log = tmp_path / "log"
    log.write_text("old serving\n")
    assert "in its log" in await lacks(log, log="serving")
    log.write_text("old serving\nnow serving\n")
    assert not await lacks(log, log="serving", tcp=server, http=f"http://{server}/good")
    assert "to take connections" in await lacks(log, log="serving", tcp=NOWHERE)
    assert "to answer with 2xx" in await lacks(log, http=f"http://{server}/busy")
    assert "to answer with 2xx" in await lacks(log, http=f"http://{NOWHERE}/good")
    assert "consumer group 'g'" in await lacks(log, group="g")


async def test_several_groups_must_all_be_there(tmp_path):
    stable = {"a"}

    class Groups:
        async def state(self, group: str) -> GroupState:
            return GroupState("Stable" if group in stable else "PreparingRebalance", members=1, partitions=4)

    async def missing() -> str:
        return await ready._lacks(tmp_path / "log", 0, {"group": "a\nb"}, Groups())  # type: ignore[arg-type]

    assert "consumer group 'b'" in await missing()
    stable.add("b")
    assert not await missing()


def test_members_without_a_partition_read_nothing_and_those_who_do_not_tell_are_believed():
    for partitions, reads in ((0, False), (1, True), (None, True)):
        state = GroupState("Stable", members=1, partitions=partitions)
        assert (state.ready, state.given_nothing) == (reads, not reads)
    assert not GroupState("Stable", members=0, partitions=0).given_nothing


async def test_a_process_that_names_nothing_serves_at_once(tmp_path):
    low_ns, high_ns = await ready.wait(ME, tmp_path / "log", 0, {}, NOWHERE)
    assert low_ns <= high_ns


async def test_what_it_waited_for_is_told_with_the_end_of_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(ready, "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(patience, "scale", lambda: 1)
    (tmp_path / "log").write_text("half way\n")
    with pytest.raises(StackError, match="waited for 'serving' in its log") as caught:
        await ready.wait(ME, tmp_path / "log", 0, {"log": "serving"}, NOWHERE)
    assert "half way" in caught.value.detail


async def test_a_process_that_ended_is_not_waited_for(tmp_path):
    with pytest.raises(StackError, match="ended while it was starting"):
        await ready.wait(spawn.Handle(ME.pid, 1), tmp_path / "log", 0, {}, NOWHERE)


def context(now_ns: int, *replicas: Replica, held: tuple[str, ...] = ()):
    return SimpleNamespace(
        clock=SimpleNamespace(now_ns=lambda: now_ns),
        leases=SimpleNamespace(on=lambda directory: [SimpleNamespace(on=on) for on in held]),
        testbed=SimpleNamespace(directory=Path(), record=SimpleNamespace(replicas=replicas)),
    )


def replica(name: str, handle: spawn.Handle | None, restart_ns: int | None = 5) -> Replica:
    return Replica(name, spawn.Recipe((), {}, "", ""), handle, ready={}, restart_ns=restart_ns)


def test_what_ended_by_itself_is_due_after_its_time_and_what_a_fault_holds_down_is_not():
    gone = spawn.Handle(ME.pid, 1)
    down: dict[str, int] = {}
    one, lives, never = replica("target/0", gone), replica("target/1", ME), replica("target/2", gone, None)
    assert restarts._due(context(10, one, lives, never), down) == []
    assert restarts._due(context(14, one, lives, never), down) == []
    assert restarts._due(context(15, one, lives, never), down) == ["target/0"]
    assert restarts._due(context(16, one, held=("target",)), down) == []
    assert restarts._due(context(17, one, held=("target/1",)), down) == []
    assert restarts._due(context(22, one, held=("redis",)), down) == ["target/0"]


def test_a_function_of_the_users_is_loaded_and_its_errors_are_no_identity(tmp_path):
    file = tmp_path / "names.py"
    file.write_text("def find(topic, key, value, headers):\n    return value.decode(), topic\n")
    found = identify.load(f"{file}:find")
    assert found is not None
    assert found("out", None, b"x", {}) == ("x", "out")
    assert found("out", None, None, {}) == (None, None)
    assert identify.load("") is None
    with pytest.raises(UsageError, match="there is no function other"):
        identify.load(f"{file}:other")
    file.write_text("1 / 0\n")
    with pytest.raises(UsageError, match="cannot be loaded: ZeroDivisionError"):
        identify.load(f"{file}:find")
