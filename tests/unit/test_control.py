"""JSON lines between a parent and its child, on real processes."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from chaosd.kernel.errors import StackError
from chaosd.process.control import LINE_BYTES_MAX, Child

_ECHO = """
import asyncio
from chaosd.process.control import Parent

async def main():
    parent = Parent()
    print("a stray print of a library")
    parent.emit({"event": "ready"})
    async for command in parent.commands():
        if command["cmd"] == "flood":
            for i in range(command["count"]):
                parent.emit({"event": "flood", "i": i, "pad": "x" * 1000})
            parent.emit({"event": "flooded"})
            print("flooded", flush=True)
        else:
            parent.emit({"event": "echo", **command})
    parent.emit({"event": "hung_up"})

asyncio.run(main())
"""


async def _start(tmp_path: Path) -> Child:
    return await Child.start([sys.executable, "-c", _ECHO], stderr_log=tmp_path / "log")


async def _until(child: Child, name: str) -> dict[str, object]:
    async with asyncio.timeout(10):
        async for event in child.events():
            if event["event"] == name:
                return event
    raise AssertionError(f"no event {name}")


def test_commands_reach_the_child_and_its_events_come_back(tmp_path: Path) -> None:
    async def go() -> None:
        child = await _start(tmp_path)
        await _until(child, "ready")
        assert await child.send({"cmd": "hello", "n": 3})
        assert await _until(child, "echo") == {"event": "echo", "cmd": "hello", "n": 3}
        child.hang_up()
        await _until(child, "hung_up")
        assert await child.close(5) == 0
        assert child.garbled == 0
        assert "a stray print" in (tmp_path / "log").read_text()

    asyncio.run(go())


def test_a_dead_child_ends_the_events_and_takes_no_commands(tmp_path: Path) -> None:
    async def go() -> None:
        child = await _start(tmp_path)
        await _until(child, "ready")
        child.kill()
        assert [event async for event in child.events()] == []
        assert await child.wait() == -9
        async with asyncio.timeout(5):
            while await child.send({"cmd": "hello"}):
                await asyncio.sleep(0.001)

    asyncio.run(go())


def test_a_child_whose_parent_does_not_read_goes_on_and_keeps_the_newest_events(tmp_path: Path) -> None:
    async def go() -> None:
        child = await _start(tmp_path)
        await _until(child, "ready")
        # Far more than pipe and buffers hold: the child must come to the end of it without a reader.
        await child.send({"cmd": "flood", "count": 20_000})
        deadline = time.monotonic() + 10
        while "flooded" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline, "the child did not come to the end of its flood"
            time.sleep(0.005)  # noqa: ASYNC251 - blocks our loop on purpose: nobody reads
        await child.send({"cmd": "after"})
        seen = []
        async with asyncio.timeout(20):
            async for event in child.events():
                seen.append(event["event"])
                if event["event"] == "echo":
                    break
        assert seen[-2:] == ["flooded", "echo"]
        assert seen.count("flood") < 20_000
        assert child.garbled == 0
        await child.close(5)

    asyncio.run(go())


def test_a_garbled_or_too_long_line_is_skipped(tmp_path: Path) -> None:
    async def go() -> None:
        code = f"import sys; print('not json'); print('x' * {LINE_BYTES_MAX * 2}); print('{{\"event\": \"ok\"}}')"
        child = await Child.start([sys.executable, "-c", code])
        assert [event async for event in child.events()] == [{"event": "ok"}]
        assert await child.close(5) == 0

    asyncio.run(go())


def test_a_program_that_is_not_there_is_a_stack_error() -> None:
    with pytest.raises(StackError, match="cannot start"):
        asyncio.run(Child.start(["/nowhere/at/all"]))
