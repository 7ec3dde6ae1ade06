"""PostgreSQL: a write and a read, isolation, rollback, and a pool that comes back after its backend was terminated."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import asyncpg

from chaosd.kernel.clock import SECOND, Clock
from chaosd.stack.handle import Postgres
from chaosd.testbed.checks import Check, holds, within

BUDGET_MS = 20.0
ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_ROUNDS = 50
_LIMIT_S = 8.0


async def check(place: Postgres, clock: Clock) -> list[Check]:
    """Raises what asyncpg raises when there is no answer."""
    table = f"chaosd_doctor_{secrets.token_hex(6)}"
    async with asyncio.timeout(_LIMIT_S), asyncpg.create_pool(place.dsn, min_size=1, max_size=2, timeout=3) as pool:
        await pool.execute(f"create table {table} (id int primary key, amount numeric)")
        try:
            return [
                await _time(pool, table, clock),
                await _isolation(pool),
                await _rollback(pool, table),
                await _recovery(pool, place),
            ]
        finally:
            await pool.execute(f"drop table if exists {table}")


async def _time(pool: Any, table: str, clock: Clock) -> Check:
    took_ms = []
    for number in range(_ROUNDS):
        began_ns = clock.now_ns()
        await pool.execute(f"insert into {table} values ($1, 1.10)", number)  # noqa: S608 -- a name made here
        took_ms.append((clock.now_ns() - began_ns) / (SECOND / 1000))
    return within("postgres", "insert and commit", took_ms, BUDGET_MS, "is the machine busy? is its disk slow?")


async def _isolation(pool: Any) -> Check:
    level = await pool.fetchval("show transaction_isolation")
    return holds(
        "postgres", "isolation", passed=level != "read uncommitted", measured=level, wanted="read committed or more"
    )


async def _rollback(pool: Any, table: str) -> Check:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"insert into {table} values (-1, 1)")  # noqa: S608
        await transaction.rollback()
    left = await pool.fetchval(f"select count(*) from {table} where id = -1")  # noqa: S608
    return holds("postgres", "rollback", passed=left == 0, measured=f"{left} rows left", wanted="0 rows left")


async def _recovery(pool: Any, place: Postgres) -> Check:
    """Terminate an idle backend of our own pool, from outside of it; the next query gets another connection."""
    pid = await pool.fetchval("select pg_backend_pid()")
    killer = await asyncpg.connect(place.dsn, timeout=3)
    try:
        await killer.execute("select pg_terminate_backend($1)", pid)
    finally:
        await killer.close(timeout=1)
    for attempt in (1, 2, 3):
        try:
            await pool.fetchval("select 1")
        # The last is what asyncpg says of a connection that is told of its end in this very moment.
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError):
            continue
        return holds(
            "postgres", "pool", passed=True, measured=f"serves again, attempt {attempt}", wanted="serves again"
        )
    return holds("postgres", "pool", passed=False, measured="does not serve again", wanted="serves again")
