"""Testbeds of their own for the tests of one module, guarded; and what the servers of one tell of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from waits import until

from chaosd.kernel.clock import SystemClock
from chaosd.process.control import Child
from chaosd.testbed import record as records
from chaosd.testbed.gauges import Gauges, Meters
from chaosd.testbed.testbed import BROKERS, Testbed, tear_down


@asynccontextmanager
async def cluster(folder: Path, *, brokers: int = 3, replicas: int = 2) -> AsyncIterator[Testbed]:
    """The testbed, up and its target ready; a test run that is killed leaves nothing of it behind."""
    directory = folder / "cluster"
    directory.mkdir()
    extra = {BROKERS: brokers} if brokers > 1 else {}
    records.save(directory, records.Record("cluster", str(directory), "embedded", kept=True, extra=extra))
    guard = await Child.start("chaosd.healing.watchdog", stderr_log=folder / "watchdog.log")
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


class Meter:
    """What the servers tell, as a run records it."""

    def __init__(self, bed: Testbed, wanted: Iterable[Gauges]) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.meters = Meters(bed, SystemClock(), self.rows.append)
        self.meters.watch(wanted)

    def values(self, title: str) -> list[int]:
        """All values of one gauge so far."""
        number = self.meters.titles.index(title)
        return [row[2] for row in self.rows if row[1] == number]

    async def more(self, count: int = 4, after_ns: int = 0) -> None:
        """Wait for so many more values of every gauge, told `after_ns` at the earliest."""
        since_ns = max(SystemClock().now_ns(), after_ns)
        numbers = range(len(self.meters.titles))
        await until(
            lambda: all(sum(row[1] == n and row[0] > since_ns for row in self.rows) >= count for n in numbers),
            f"{count} values of {self.meters.titles}",
            within_s=20,
        )


@asynccontextmanager
async def metered(bed: Testbed, wanted: Iterable[Gauges]) -> AsyncIterator[Meter]:
    """Have the servers tell these, from a first value of each on."""
    meter = Meter(bed, wanted)
    task = asyncio.create_task(meter.meters.run())
    try:
        await meter.more(1)
        yield meter
    finally:
        task.cancel()
        await asyncio.wait({task})
