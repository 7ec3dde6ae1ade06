"""Each mutant on the real stack does the one thing wrong that it is for, and works otherwise."""

from __future__ import annotations

import asyncio
import json
import time

from pipeline_bench import Given, running, tick

from chaosd.envelope.poison import spoil


def poison() -> Given:
    good = tick("POISON")
    return Given(good.id, good.key, spoil("field_missing", good.value, 1))


async def test_auto_commit_loses_what_is_in_work_when_it_is_killed(stack, tmp_path):
    async with running(stack, tmp_path, "auto_commit") as bench:
        first = [tick(f"AUTO-{number}") for number in range(20)]
        await bench.send(first)
        await bench.answered(first)
        lost = [tick(f"AUTO-{number}") for number in range(20)]
        await bench.send(lost)
        await asyncio.sleep(0.1)  # received and committed, waiting for a worker
        await bench.kill()
        bench.start()
        await bench.ready()
        after = [tick(f"AUTO-{number}") for number in range(20)]
        await bench.send(after)
        await bench.answered(after)
        assert any(one.id not in bench.outputs for one in lost)


async def test_drops_poison_says_nothing_of_it(stack, tmp_path):
    async with running(stack, tmp_path, "drops_poison") as bench:
        behind = tick("POISON")
        await bench.send([poison(), behind])
        await bench.answered([behind])
        second = tick("POISON")
        await bench.send([second])
        await bench.answered([second])
        assert bench.letters == []


async def test_wrong_error_type_calls_poison_transient(stack, tmp_path):
    async with running(stack, tmp_path, "wrong_error_type") as bench:
        await bench.send([poison()])
        await bench.collect(lambda: bool(bench.letters), 5, "the letter")
        assert json.loads(bench.letters[0].value)["data"]["failure_info"]["error_type"] == "transient"


async def test_without_postgres_answers_while_postgres_is_unreachable(stack, tmp_path):
    async with running(stack, tmp_path, "without_postgres") as bench:
        await stack.toxiproxy.set_enabled("postgres", enabled=False)
        try:
            given = [tick(f"NOPG-{number}") for number in range(20)]
            await bench.send(given)
            await bench.answered(given)
        finally:
            await stack.toxiproxy.set_enabled("postgres", enabled=True)


async def test_slow_reconnect_notices_a_heal_later_than_five_seconds(stack, tmp_path):
    async with running(stack, tmp_path, "slow_reconnect") as bench:
        await stack.toxiproxy.set_enabled("redis", enabled=False)
        try:
            late = tick("LATE")
            await bench.send([late])
            async with asyncio.timeout(5):
                while "redis.mget" not in bench.log():
                    await asyncio.sleep(0.02)
        finally:
            await stack.toxiproxy.set_enabled("redis", enabled=True)
        healed = time.monotonic()
        await bench.answered([late], within_s=12)
        assert time.monotonic() - healed > 5
