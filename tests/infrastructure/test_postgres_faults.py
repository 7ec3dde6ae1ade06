"""What PostgreSQL itself is made to do: each fault bites a client behind the proxy and is undone by any process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest
from fault_bench import CLOCK, elsewhere, in_turn

from chaosd.faults import servers
from chaosd.faults.table import FAULTS
from chaosd.journal.columns import Path, ProbeOutcome
from chaosd.kernel.errors import StackError
from chaosd.testbed import record as records
from chaosd.testbed import session
from chaosd.testbed.testbed import Testbed

NAMES = [name for name, fault in FAULTS.items() if fault.on == ("postgres",)]
TABLE = "bench_orders"
WORDS = {"lock_table": {"table": TABLE}, "slow_statements": {"table": TABLE, "delay": "300ms"}}


@pytest.fixture(scope="module")
async def bed(stack):
    """The session's stack, without a target: a client of the test stands in for it."""
    record = records.Record(name="postgres-faults", marker=stack.record.marker, provider="embedded", kept=True)
    records.save(stack.folder, record)
    pipeline = await asyncpg.connect(stack.endpoints.proxied.postgres.dsn)
    await pipeline.execute(f"CREATE TABLE {TABLE} (n int)")
    await pipeline.close()
    yield Testbed(stack.folder, stack, CLOCK)
    pipeline = await asyncpg.connect(stack.endpoints.proxied.postgres.dsn)
    await pipeline.execute(f"DROP TABLE {TABLE}")
    await pipeline.close()
    (stack.folder / records.FILE).unlink()


@asynccontextmanager
async def using(bed: Testbed):
    """A client behind the proxy that writes; what it met: names of errors, and how long the slowest write took."""
    met: dict[str, float] = {}
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def use() -> None:
        own = None
        while True:
            began = loop.time()
            try:
                own = own or await asyncpg.connect(bed.stack.endpoints.proxied.postgres.dsn, timeout=5)
                await own.execute(f"INSERT INTO {TABLE} VALUES (1)")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                met[type(error).__name__] = met.get(type(error).__name__, 0) + 1
                if own is not None:
                    own.terminate()
                own = None
            else:
                met["slowest_s"] = max(met.get("slowest_s", 0), loop.time() - began)
                if stop.is_set():
                    await own.close()
                    return
            await asyncio.sleep(0.02)

    task = asyncio.create_task(use())
    try:
        yield met
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def state(bed: Testbed) -> list[session.Row]:
    own = await session.postgres(bed.stack.endpoints.direct.postgres, CLOCK)
    try:
        return await own.ask(
            "SHOW default_transaction_read_only; SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal;"
            " SELECT count(*) FROM pg_proc WHERE proname LIKE 'chaosd%';"
            f" SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '{servers.BREAKS}%';"
            " SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'"
        )
    finally:
        own.close()


FELT = [
    {"AdminShutdownError", "ConnectionDoesNotExistError", "InterfaceError"},
    {"TooManyConnectionsError"},
    {"ReadOnlySQLTransactionError"},
]


async def test_every_fault_of_postgres_bites_and_heals(bed):
    before = await state(bed)
    async with using(bed) as met:
        verdicts, watch = await in_turn(bed, [(name, "postgres", WORDS.get(name, {})) for name in NAMES], 1.3)
    assert await state(bed) == before
    for name, verdict in verdicts.items():
        assert (verdict.bite, verdict.healed) == ("proved", "proved"), (name, verdict.evidence)
    for errors in FELT:
        assert errors & met.keys(), met
    assert met["slowest_s"] >= 1.0
    # chaosd's own way in was open all the time, when nobody else had a connection, too.
    assert watch.outcomes("postgres", Path.DIRECT) == {ProbeOutcome.OK}


async def test_the_target_is_an_ordinary_role_that_cannot_take_reserved_connections(bed):
    own = await session.postgres(bed.stack.endpoints.direct.postgres, CLOCK)
    try:
        role = bed.stack.endpoints.proxied.postgres.user
        rows = await own.ask(
            f"SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'; SHOW superuser_reserved_connections"
        )
    finally:
        own.close()
    assert rows == [("f",), ("3",)]


@pytest.mark.parametrize("name", NAMES)
async def test_undo_of_what_never_happened_changes_nothing(bed, name):
    fault, before = FAULTS[name], await state(bed)
    params = fault.params.model_validate(WORDS.get(name, {}))
    memo = await fault.prepare(bed, "postgres", params)
    cleared = await fault.undo(bed, "postgres", params, memo, "t-never")
    assert cleared.high_ns >= cleared.low_ns
    assert await state(bed) == before


@pytest.mark.parametrize(
    ("name", "killed"), [("exhaust_connections", True), ("lock_table", False), ("slow_statements", True)]
)
async def test_injection_of_another_process_is_undone_whether_it_hangs_or_was_killed(bed, name, killed):
    fault, before, words = FAULTS[name], await state(bed), WORDS.get(name, {})
    params = fault.params.model_validate(words)
    async with using(bed):
        memo = await fault.prepare(bed, "postgres", params)
        holder = await elsewhere(bed, name, "postgres", memo, words)
        if killed:
            holder.kill()
            await holder.wait()
        await fault.undo(bed, "postgres", params, memo, "t-elsewhere")
        assert await state(bed) == before
        if not killed:
            holder.kill()
            await holder.wait()


async def test_lock_is_let_go_with_the_process_that_held_it(bed):
    fault = FAULTS["lock_table"]
    params = fault.params.model_validate(WORDS["lock_table"])
    memo = await fault.prepare(bed, "postgres", params)
    holder = await elsewhere(bed, "lock_table", "postgres", memo, WORDS["lock_table"])
    holder.kill()
    await holder.wait()
    pipeline = await asyncpg.connect(bed.stack.endpoints.proxied.postgres.dsn)
    async with asyncio.timeout(5):
        await pipeline.execute(f"INSERT INTO {TABLE} VALUES (2)")
    await pipeline.close()


async def test_a_read_only_setting_that_was_there_before_stays(bed):
    fault, own = FAULTS["read_only"], await session.postgres(bed.stack.endpoints.direct.postgres, CLOCK)
    try:
        await own.ask("ALTER SYSTEM SET default_transaction_read_only = off")
        memo = await fault.prepare(bed, "postgres", fault.params())
        await fault.inject(bed, "postgres", fault.params(), memo, "t-read")
        await fault.undo(bed, "postgres", fault.params(), memo, "t-read")
        rows = await own.ask("SELECT setting FROM pg_file_settings WHERE name = 'default_transaction_read_only'")
        assert rows == [("off",)]
    finally:
        await own.ask("ALTER SYSTEM RESET default_transaction_read_only")
        await own.ask("SELECT pg_reload_conf()")
        own.close()


async def test_connections_that_are_left_are_the_targets(bed):
    fault = FAULTS["exhaust_connections"]
    params = fault.params.model_validate({"leave": 2})
    memo = await fault.prepare(bed, "postgres", params)
    opened = []
    await fault.inject(bed, "postgres", params, memo, "t-leave")
    try:
        dsn = bed.stack.endpoints.proxied.postgres.dsn
        async with asyncio.timeout(10):  # a session that was let go ends a moment later
            while len(opened) < 2:
                try:
                    opened.append(await asyncpg.connect(dsn))
                except asyncpg.TooManyConnectionsError:
                    await asyncio.sleep(0.02)
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(dsn)
    finally:
        for one in opened:
            await one.close()
        await fault.undo(bed, "postgres", params, memo, "t-leave")


async def test_a_table_that_is_not_there_is_told_before_anything_is_broken(bed):
    fault = FAULTS["lock_table"]
    with pytest.raises(StackError, match="there is no table nowhere in the database pipeline"):
        await fault.prepare(bed, "postgres", fault.params.model_validate({"table": "nowhere"}))
