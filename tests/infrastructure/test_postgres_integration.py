"""PostgreSQL as the pipeline meets it: transactions, isolation, and pools over a restart."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest


@pytest.fixture
async def connection(stack) -> AsyncIterator[asyncpg.Connection]:
    connected = await asyncpg.connect(stack.endpoints.proxied.postgres.dsn, timeout=5)
    yield connected
    await connected.close()


@pytest.fixture
async def table(connection) -> AsyncIterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    await connection.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, price numeric, ts timestamptz)")
    yield name
    await connection.execute(f"DROP TABLE {name}")


async def other(stack) -> asyncpg.Connection:
    return await asyncpg.connect(stack.endpoints.proxied.postgres.dsn, timeout=5)


async def test_money_and_times_come_back_as_they_went(connection, table):
    await connection.execute(
        f"INSERT INTO {table} VALUES (1, $1, '2026-01-02T03:04:05.678901+05:30')", Decimal("101.5000000000000001")
    )
    row = await connection.fetchrow(f"SELECT price, ts FROM {table}")
    assert str(row["price"]) == "101.5000000000000001"
    assert row["ts"].isoformat() == "2026-01-01T21:34:05.678901+00:00"


async def test_an_error_inside_a_transaction_leaves_nothing(connection, table):
    async def twice() -> None:
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} VALUES (1)")
            await connection.execute(f"INSERT INTO {table} VALUES (1)")

    with pytest.raises(asyncpg.UniqueViolationError):
        await twice()
    assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_transaction_without_error_stays(connection, table):
    async with connection.transaction():
        await connection.execute(f"INSERT INTO {table} VALUES (1)")
    assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 1


async def test_what_is_not_committed_is_not_seen_by_others(stack, connection, table):
    second = await other(stack)
    try:
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} VALUES (1)")
            assert await second.fetchval(f"SELECT count(*) FROM {table}") == 0
        assert await second.fetchval(f"SELECT count(*) FROM {table}") == 1
    finally:
        await second.close()


async def test_concurrent_updates_of_a_serializable_row_raise_in_one_of_them(stack, connection, table):
    await connection.execute(f"INSERT INTO {table} VALUES (1, 10)")
    second = await other(stack)
    try:
        one, two = connection.transaction(isolation="serializable"), second.transaction(isolation="serializable")
        await one.start()
        await two.start()
        await connection.fetch(f"SELECT * FROM {table}")
        await second.fetch(f"SELECT * FROM {table}")
        await connection.execute(f"UPDATE {table} SET price = price + 1")
        await one.commit()
        with pytest.raises(asyncpg.SerializationError):
            await second.execute(f"UPDATE {table} SET price = price + 1")
        await two.rollback()
        assert await second.fetchval(f"SELECT price FROM {table}") == 11
    finally:
        await second.close()


async def test_an_insert_on_conflict_adds_once_however_often_it_is_repeated(connection, table):
    for _ in range(3):
        await connection.execute(f"INSERT INTO {table} VALUES (1, 5) ON CONFLICT DO NOTHING")
    assert await connection.fetchval(f"SELECT sum(price) FROM {table}") == 5


async def test_a_connection_dies_with_a_cut_and_a_new_one_works(stack):
    cut = await other(stack)
    await stack.toxiproxy.set_enabled("postgres", enabled=False)
    try:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await cut.fetchval("SELECT 1")
    finally:
        await stack.toxiproxy.set_enabled("postgres", enabled=True)
        cut.terminate()
    fresh = await other(stack)
    assert await fresh.fetchval("SELECT 1") == 1
    await fresh.close()


async def test_a_pool_recovers_after_a_restart_of_the_server(stack, caplog):
    caplog.set_level("CRITICAL")  # asyncpg logs a traceback for each connection that it refills
    pool = await asyncpg.create_pool(stack.endpoints.proxied.postgres.dsn, min_size=2, max_size=2, timeout=2)
    try:
        before = await pool.fetchval("SELECT pg_postmaster_start_time()")
        await stack.stop_part("postgres")
        await stack.start_part("postgres")
        deadline = time.monotonic() + 5
        while True:
            try:
                after = await pool.fetchval("SELECT pg_postmaster_start_time()", timeout=2)
                break
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                assert time.monotonic() < deadline, "waited for the pool to reconnect"
                await asyncio.sleep(0.05)
        assert after > before
    finally:
        pool.terminate()
