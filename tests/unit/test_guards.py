"""The conductor keeps its watchdog: a real watchdog process, killed and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from chaosd.conductor.guards import Watchdog
from chaosd.process import spawn


class Facts:
    """What the conductor stated."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int]] = []

    def append(self, kind: str, *, durable: bool, pid: int) -> None:
        self.said.append((kind, pid))


@pytest.fixture
async def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    order: dict[str, Any] = {"run_dir": None, "testbed": str(tmp_path / "testbed"), "teardown": True, "run_id": "r"}
    facts = Facts()
    guard = Watchdog(order, facts, Path(tmp_path / "log"))
    await guard.arm()
    keeping = asyncio.create_task(guard.keep())
    yield facts
    await guard.disarm()
    async with asyncio.timeout(10):
        await keeping


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_watchdog_that_is_killed_or_stopped_is_replaced(kept, sig):
    first = spawn.handle_of(kept.said[0][1])
    os.kill(first.pid, sig)
    async with asyncio.timeout(30):
        while len(kept.said) < 2:
            await asyncio.sleep(0.01)
    assert not spawn.alive(first)
    kind, pid = kept.said[1]
    assert kind == "watchdog_respawned"
    assert spawn.handle_of(pid) is not None
