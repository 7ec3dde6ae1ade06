"""The reference pipeline while a part is away: it does less, says so, stays alive, and does the rest afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pipeline_bench import Given, PipelineBench, running, tick

from chaosd.envelope.poison import spoil
from chaosd.process import spawn

CATCH_UP_S = 20.0  # that it is back within five seconds is judged in experiments


@pytest.fixture(scope="module")
async def bench(stack, tmp_path_factory) -> AsyncIterator[PipelineBench]:
    async with running(stack, tmp_path_factory.mktemp("degradation")) as bench:
        warm = [tick(f"WARM-{number}") for number in range(20)]
        await bench.send(warm)
        await bench.answered(warm)
        yield bench


def spoiled(number: int) -> Given:
    good = tick("BAD")
    return Given(good.id, good.key, spoil("field_missing", good.value, number))


async def test_without_redis_nothing_is_lost_nothing_is_buried_and_it_catches_up(bench):
    """Without its marks it could do something twice, so it waits: that is its way to degrade."""
    given = [tick(f"DOWN-{number % 7}") for number in range(300)]
    buried = len(bench.letters)
    await bench.stack.toxiproxy.set_enabled("redis", enabled=False)
    try:
        await bench.send(given)
        # Asking for marks, or still setting those of the records before these.
        await bench.collect(lambda: '"step": "redis.' in bench.log(), 20, "the pipeline's word about Redis")
        assert not any(one.id in bench.outputs for one in given[100:])
        assert spawn.alive(bench.handle)
    finally:
        await bench.stack.toxiproxy.set_enabled("redis", enabled=True)
    await bench.answered(given, within_s=CATCH_UP_S)
    assert len(bench.letters) == buried
    for key in {one.key for one in given}:
        mine = [one.id for one in given if one.key == key]
        firsts = [bench.outputs[one][0].offset for one in mine]
        assert firsts == sorted(firsts)


async def test_an_outage_makes_no_dead_letters_but_poison_in_it_still_becomes_one(bench):
    """Told apart even at once: what is bad goes to the DLQ after the outage, what is good to the output."""
    good, bad = [tick(f"MIX-{number}") for number in range(20)], [spoiled(number) for number in range(5)]
    buried = len(bench.letters)
    await bench.stack.toxiproxy.set_enabled("postgres", enabled=False)
    try:
        await bench.send([*good, *bad])
        await bench.collect(lambda: "postgres.record" in bench.log(), 20, "the pipeline's word about PostgreSQL")
    finally:
        await bench.stack.toxiproxy.set_enabled("postgres", enabled=True)
    await bench.answered(good, within_s=CATCH_UP_S)
    await bench.collect(lambda: len(bench.letters) >= buried + len(bad), CATCH_UP_S, "the letters")
    fence = tick("BAD")
    await bench.send([fence])
    await bench.answered([fence])
    assert len(bench.letters) == buried + len(bad)


async def test_the_log_of_an_outage_is_short(bench):
    """Hundreds of failed tries: a log that fills the disk would be the next outage."""
    before = len(bench.log())
    given = [tick(f"LOG-{number}") for number in range(20)]
    await bench.stack.toxiproxy.set_enabled("redis", enabled=False)
    try:
        await bench.send(given)
        await bench.collect(lambda: len(bench.log()) > before, 10, "the pipeline's word about Redis")
    finally:
        await bench.stack.toxiproxy.set_enabled("redis", enabled=True)
    await bench.answered(given, within_s=CATCH_UP_S)
    told = bench.log()[before:]
    assert len(told.splitlines()) < 50, told
    assert "Traceback" not in told
