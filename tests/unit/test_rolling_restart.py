"""All brokers one after the other: each is back before the next one goes, and what was cut off is started again."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from chaosd.faults import process
from chaosd.faults.fault import Force
from chaosd.faults.params import NoParams
from chaosd.faults.table import FAULTS
from chaosd.kernel.clock import SECOND
from chaosd.process.spawn import Handle
from chaosd.stack.ready import Started

BROKERS = ("kafka/1", "kafka/2", "kafka/3")
FAULT = FAULTS["rolling_restart"]
FORCE = Force(Random(1), 60 * SECOND)


class Cluster:
    """Three brokers of which each knows whether it runs; `slow` never comes back by itself."""

    def __init__(self, slow: str = "") -> None:
        self.done: list[str] = []
        self.up = dict.fromkeys(BROKERS, True)
        self.slow = slow
        self.stack = self

    def members(self, on):
        return BROKERS

    def handle(self, name):
        return Handle(BROKERS.index(name), 1)

    def signal(self, name, sig):
        return True

    async def stop_part(self, name, *, kill):
        assert not kill
        assert all(self.up.values())
        self.up[name] = False
        self.done.append(f"end {name}")
        return 1

    async def start(self, name):
        if name == self.slow:
            await asyncio.sleep(60)
        if not self.up[name]:
            self.done.append(f"start {name}")
        self.up[name] = True
        return Started(5, 7, self.handle(name))


@pytest.fixture(autouse=True)
def alive(monkeypatch):
    """A process is gone as soon as it was ended."""
    gone: list[Handle] = []

    def look(handle):
        # Asked before the end, and after it.
        gone.append(handle)
        return gone.count(handle) % 2 == 1

    monkeypatch.setattr(process.spawn, "alive", look)


async def test_each_broker_is_back_before_the_next_one_goes():
    bed = Cluster()
    await FAULT.inject(bed, "kafka", NoParams(), {}, "t")
    await FAULT.during(bed, "kafka", NoParams(), {}, "t", FORCE)
    assert bed.done == [f"{what} {name}" for name in BROKERS for what in ("end", "start")]


async def test_whatever_is_down_when_it_is_cut_off_is_started():
    bed = Cluster(slow="kafka/2")
    await FAULT.inject(bed, "kafka", NoParams(), {}, "t")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await FAULT.during(bed, "kafka", NoParams(), {}, "t", FORCE)
    assert bed.up == {"kafka/1": True, "kafka/2": False, "kafka/3": True}
    bed.slow = ""
    for _ in range(2):
        await FAULT.undo(bed, "kafka", NoParams(), {}, "t")
    assert bed.done == ["end kafka/1", "start kafka/1", "end kafka/2", "start kafka/2"]


def test_it_has_bitten_only_where_every_broker_is_another_process():
    assert FAULT.bite("kafka", NoParams()) == FAULTS["restart"].bite("kafka", NoParams())
