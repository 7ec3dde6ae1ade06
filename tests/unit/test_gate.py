"""The gate of a testbed's folder: one start at a time over all processes, and none once it is being ended."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaosd.kernel.errors import StackError
from chaosd.process import gate, spawn

HOLD = (
    "import asyncio, sys\n"
    "from pathlib import Path\n"
    "from chaosd.process import gate\n"
    "async def hold():\n"
    "    async with gate.starting(Path(sys.argv[1])):\n"
    "        print('held', flush=True); sys.stdin.readline()\n"
    "asyncio.run(hold())\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the gate until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def test_only_one_process_at_a_time_starts_something(tmp_path, holder):
    with pytest.raises(StackError, match="another process has held"):
        async with gate.starting(tmp_path, 0.05):
            pytest.fail("two at once")
    holder.communicate("go on\n")
    async with gate.starting(tmp_path, 5):
        pass


async def test_waiting_for_the_gate_keeps_nobody_from_other_work(tmp_path, holder):
    steps = 0

    async def wait() -> None:
        with pytest.raises(StackError):
            async with gate.starting(tmp_path, 0.3):
                pytest.fail("two at once")

    waiting = asyncio.create_task(wait())
    while not waiting.done():
        steps += 1
        await asyncio.sleep(0.001)
    await waiting
    assert steps > 10


async def test_a_lock_ends_with_its_holder(tmp_path, holder):
    holder.kill()
    async with gate.starting(tmp_path, 5):
        pass


async def test_nothing_is_started_in_a_folder_that_is_being_ended(tmp_path):
    await gate.shut(tmp_path)
    with pytest.raises(StackError, match="is being ended"):
        async with gate.starting(tmp_path):
            pytest.fail("started")


async def test_a_holder_that_stands_still_does_not_keep_the_folder_from_being_ended(tmp_path, holder):
    spawn.send_signal(spawn.handle_of(holder.pid), signal.SIGSTOP)
    await gate.shut(tmp_path, 0.05)
    holder.kill()
    with pytest.raises(StackError, match="is being ended"):
        async with gate.starting(tmp_path, 5):
            pytest.fail("started")


async def test_a_folder_that_is_gone_is_an_error_to_start_in_and_fine_to_end(tmp_path):
    gone = tmp_path / "gone"
    await gate.shut(gone)
    assert not gone.exists()
    with pytest.raises(StackError):
        async with gate.starting(gone):
            pytest.fail("started")


async def test_the_lock_and_the_mark_are_in_the_folder_and_nowhere_else(tmp_path):
    async with gate.starting(tmp_path):
        pass
    await gate.shut(tmp_path)
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == [gate.ENDING, gate.LOCK]
