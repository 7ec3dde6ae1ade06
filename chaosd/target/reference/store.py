"""Ticks and positions in PostgreSQL, in one statement, so in one transaction and one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import asyncpg

from chaosd.target.reference.contract import Tick
from chaosd.target.reference.retry import Retry

_CONNECT_TIMEOUT_S = 2.0
_STATEMENT_TIMEOUT_S = 3.0
TRANSIENT = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

SCHEMA = """
CREATE TABLE IF NOT EXISTS ticks (
    id uuid PRIMARY KEY, symbol text NOT NULL, price numeric NOT NULL, volume bigint NOT NULL,
    notional numeric NOT NULL, exchange_ts timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS positions (
    symbol text PRIMARY KEY, volume numeric NOT NULL, notional numeric NOT NULL, ticks bigint NOT NULL);
"""
# A tick that is there already adds nothing to its position, however often Kafka delivers it. Sorted, so that two
# instances lock the rows in the same order.
RECORD = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int8[], $5::text[])
        AS tick (id, symbol, price, volume, exchange_ts)
), fresh AS (
    INSERT INTO ticks (id, symbol, price, volume, notional, exchange_ts)
    SELECT id, symbol, price::numeric, volume, price::numeric * volume, exchange_ts::timestamptz FROM given
    ON CONFLICT (id) DO NOTHING
    RETURNING symbol, volume, notional
)
INSERT INTO positions AS known (symbol, volume, notional, ticks)
SELECT symbol, sum(volume), sum(notional), count(*) FROM fresh GROUP BY symbol ORDER BY symbol
ON CONFLICT (symbol) DO UPDATE SET
    volume = known.volume + excluded.volume,
    notional = known.notional + excluded.notional,
    ticks = known.ticks + excluded.ticks
RETURNING symbol, volume, notional, ticks
"""


class RefusedByStoreError(Exception):
    """The data itself cannot be stored: trying again would not help. `cause_class` names the database's error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause_class = type(cause).__name__


@dataclass(frozen=True, slots=True)
class Totals:
    """The position of one symbol after a statement."""

    symbol: str
    volume: Decimal
    notional: Decimal
    ticks: int


def columns(ticks: Sequence[Tick]) -> tuple[list[object], ...]:
    """The arguments of RECORD."""
    return (
        [tick.id for tick in ticks],
        [tick.data.symbol for tick in ticks],
        [tick.data.price for tick in ticks],
        [tick.data.volume for tick in ticks],
        [tick.data.exchange_ts for tick in ticks],
    )


class TickStore(Protocol):
    """Where ticks are recorded."""

    async def record(self, ticks: Sequence[Tick]) -> list[Totals]:
        """Record ticks exactly once; the new totals of the symbols that changed. Raises RefusedByStoreError."""
        ...

    def abort(self) -> None:
        """Give up whatever is under way, now."""
        ...


class PostgresStore:
    """One connection, opened when needed and thrown away after any error.

    asyncpg waits for ever in a network that swallows packets, and even a cancelled call waits (it asks the server to
    cancel). Only `terminate()` ends it, so that is what bounds each statement here.
    """

    def __init__(self, url: str, retry: Retry) -> None:
        self._url = url
        self._retry = retry
        self._connection: asyncpg.Connection | None = None

    async def record(self, ticks: Sequence[Tick]) -> list[Totals]:
        """See TickStore."""
        if not ticks:
            return []
        arguments = columns(ticks)

        async def attempt() -> list[Totals]:
            connection = await self._connect()
            async with self._bounded(connection):
                try:
                    rows = await connection.fetch(RECORD, *arguments)
                except _REFUSALS as error:
                    raise RefusedByStoreError(error) from error
            return [Totals(*row) for row in rows]

        return await self._retry.until_done("postgres.record", attempt, TRANSIENT)

    def abort(self) -> None:
        """Cut the connection; a statement under way ends with an error at once."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        connection = await asyncpg.connect(self._url, timeout=_CONNECT_TIMEOUT_S)
        self._connection = connection
        async with self._bounded(connection):
            await connection.execute(SCHEMA)
        return connection

    @asynccontextmanager
    async def _bounded(self, connection: asyncpg.Connection) -> AsyncIterator[None]:
        timer = asyncio.get_running_loop().call_later(_STATEMENT_TIMEOUT_S, connection.terminate)
        try:
            yield
        except RefusedByStoreError:
            raise  # the connection is as good as before
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()
