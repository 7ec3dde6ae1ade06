"""A three-broker stack with a target of two replicas, guarded, for the tests of one module."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chaosd.process.control import Child
from chaosd.testbed import record as records
from chaosd.testbed.testbed import BROKERS, Testbed, tear_down


@asynccontextmanager
async def cluster(folder: Path, *, brokers: int = 3, replicas: int = 2) -> AsyncIterator[Testbed]:
    """The testbed, up and its target ready; a test run that is killed leaves nothing of it behind."""
    directory = folder / "cluster"
    directory.mkdir()
    extra = {BROKERS: brokers} if brokers > 1 else {}
    records.save(directory, records.Record("cluster", str(directory), "embedded", kept=True, extra=extra))
    guard = await Child.start([sys.executable, "-m", "chaosd.healing.watchdog"], stderr_log=folder / "watchdog.log")
    await guard.send({"cmd": "arm", "testbed": str(directory), "teardown": True, "run_id": "", "run_dir": None})
    try:
        bed = await Testbed.up(directory)
        try:
            await bed.deploy("reference", replicas)
            await bed.target_ready()
            yield bed
        finally:
            bed.stack.close()
            await tear_down(directory)
    finally:
        await guard.send({"cmd": "disarm"})
        await guard.close()
