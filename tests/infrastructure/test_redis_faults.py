"""What Redis itself is made to do: each fault bites a client behind the proxy, heals, and is undone by any process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import redis.asyncio as client
from fault_bench import CLOCK, elsewhere, in_turn
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError as ClientError

from chaosd.faults import servers
from chaosd.faults.table import FAULTS
from chaosd.kernel.errors import StackError
from chaosd.testbed import record as records
from chaosd.testbed import session
from chaosd.testbed.session import RedisError
from chaosd.testbed.testbed import Testbed

NAMES = [name for name, fault in FAULTS.items() if fault.on == ("redis",)]


@pytest.fixture(scope="module")
async def bed(stack):
    """The session's stack, without a target: a client of the test stands in for it."""
    record = records.Record(name="redis-faults", marker=stack.record.marker, provider="embedded", kept=True)
    records.save(stack.folder, record)
    yield Testbed(stack.folder, stack, CLOCK)
    (stack.folder / records.FILE).unlink()


@asynccontextmanager
async def using(bed: Testbed):
    """A client behind the proxy that writes and reads, and the errors that it met; its end is with a well answer."""
    address = bed.stack.endpoints.proxied.redis
    own = client.Redis(host=address.host, port=address.port, retry=Retry(NoBackoff(), 0), socket_timeout=2)
    seen: list[str] = []
    stop = asyncio.Event()

    async def use() -> None:
        while True:
            try:
                await own.set("used", "1")
                await own.get("used")
            except (ClientError, OSError) as error:
                seen.append(str(error))
                assert len(seen) < 2000, seen[-1]
            else:
                if stop.is_set():
                    return
            await asyncio.sleep(0.02)

    task = asyncio.create_task(use())
    try:
        yield seen
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task
        await own.aclose()


async def state(bed: Testbed) -> dict[str, object]:
    own = await session.redis(bed.stack.endpoints.direct.redis, CLOCK)
    try:
        settings = {
            name: (await own.do("CONFIG", "GET", name))[1] for name in ("maxmemory", "maxmemory-policy", "maxclients")
        }
        role = next(line for line in (await own.do("INFO", "replication")).splitlines() if line.startswith("role:"))
        return {**settings, "role": role, "breaks": servers.BREAKS in await own.do("CLIENT", "LIST")}
    finally:
        own.close()


WORDS = {"client_kill": {"every": "200ms"}}
FELT = ("Connection closed", "maxmemory", "read only replica", "max number of clients")


async def test_every_fault_of_redis_bites_and_heals(bed):
    before = await state(bed)
    async with using(bed) as errors:
        verdicts, _ = await in_turn(bed, [(name, "redis", WORDS.get(name, {})) for name in NAMES], 1.0)
    assert await state(bed) == before
    for name, verdict in verdicts.items():
        assert (verdict.bite, verdict.healed) == ("proved", "proved"), (name, verdict.evidence)
    for words in FELT:
        assert any(words in error for error in errors), set(errors)


async def test_headroom_is_used_up_before_writes_are_refused(bed):
    fault = FAULTS["maxmemory"]
    params = fault.params.model_validate({"headroom": "2MB"})
    own = await session.redis(bed.stack.endpoints.direct.redis, CLOCK)
    memo = await fault.prepare(bed, "redis", params)
    try:
        await fault.inject(bed, "redis", params, memo, "t-room")
        await own.do("SET", "small", "1")
        large = [("SET", f"large-{number}", "x" * 10_000) for number in range(400)]
        ends = [isinstance(answer, RedisError) for answer in await own.ask(*large)]
        assert 20 < ends.index(True) < 400
    finally:
        await fault.undo(bed, "redis", params, memo, "t-room")
        own.close()


@pytest.mark.parametrize("name", NAMES)
async def test_undo_of_what_never_happened_changes_nothing(bed, name):
    fault = FAULTS[name]
    before = await state(bed)
    memo = await fault.prepare(bed, "redis", fault.params())
    cleared = await fault.undo(bed, "redis", fault.params(), memo, "t-never")
    assert cleared.high_ns >= cleared.low_ns
    assert await state(bed) == before


@pytest.mark.parametrize("name", ["client_kill", "maxmemory", "readonly_replica", "maxclients"])
async def test_injection_of_a_process_that_was_killed_is_undone_by_another(bed, name):
    fault, before = FAULTS[name], await state(bed)
    async with using(bed):
        memo = await fault.prepare(bed, "redis", fault.params())
        holder = await elsewhere(bed, name, "redis", memo, {})
        holder.kill()
        await holder.wait()
        await fault.undo(bed, "redis", fault.params(), memo, "t-elsewhere")
        assert await state(bed) == before


async def test_redis_that_a_hanging_process_holds_full_is_restarted(bed):
    """Nobody can get in to set it back: on a stack of chaosd's own that is the last resort."""
    fault = FAULTS["maxclients"]
    before = await state(bed)
    memo = await fault.prepare(bed, "redis", fault.params())
    holder = await elsewhere(bed, "maxclients", "redis", memo, {})
    try:
        cleared = await fault.undo(bed, "redis", fault.params(), memo, "t-elsewhere")
        assert "restarted" in cleared.evidence["redis"]
        assert await state(bed) == before
    finally:
        holder.kill()
        await holder.wait()


async def test_settings_of_a_redis_that_died_went_with_it(bed):
    fault = FAULTS["maxmemory"]
    before = await state(bed)
    memo = await fault.prepare(bed, "redis", fault.params())
    await fault.inject(bed, "redis", fault.params(), memo, "t-dead")
    await bed.stack.stop_part("redis", kill=True)
    try:
        assert "redis" in (await fault.undo(bed, "redis", fault.params(), memo, "t-dead")).evidence
    finally:
        await bed.start("redis")
    assert await state(bed) == before


async def test_replica_is_not_made_one_of_something_else(bed):
    fault = FAULTS["readonly_replica"]
    memo = await fault.prepare(bed, "redis", fault.params())
    await fault.inject(bed, "redis", fault.params(), memo, "t-replica")
    try:
        with pytest.raises(StackError, match="is a replica of"):
            await fault.prepare(bed, "redis", fault.params())
    finally:
        await fault.undo(bed, "redis", fault.params(), memo, "t-replica")


async def test_on_a_stack_of_others_only_what_comes_through_the_proxy_is_the_targets(bed):
    """Here all come from one address: what bears chaosd's name is left alone all the same."""
    foreign = replace(bed.stack.record, capabilities=("proxy", "admin"))
    own, bed.stack.record = bed.stack.record, foreign
    try:
        memo = await FAULTS["client_kill"].prepare(bed, "redis", FAULTS["client_kill"].params())
        assert memo == {"host": "127.0.0.1"}
    finally:
        bed.stack.record = own
