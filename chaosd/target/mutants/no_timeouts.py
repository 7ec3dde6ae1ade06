"""A pool of PostgreSQL connections as asyncpg makes it: without a time-out, so it hangs as long as nobody answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import asyncpg

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Tick
from chaosd.target.reference.retry import Retry
from chaosd.target.reference.store import RECORD, SCHEMA, TRANSIENT, Totals, columns


class Pooled:
    """Records as PostgresStore does, in a pool with all of its defaults."""

    def __init__(self, url: str, retry: Retry) -> None:
        self._url = url
        self._retry = retry
        self._pool: asyncpg.Pool | None = None

    async def record(self, ticks: Sequence[Tick]) -> list[Totals]:
        """See TickStore."""

        async def attempt() -> list[Totals]:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=2)
                await self._pool.execute(SCHEMA)
            return [Totals(*row) for row in await self._pool.fetch(RECORD, *columns(ticks))]

        return await self._retry.until_done("postgres.record", attempt, TRANSIENT) if ticks else []

    def abort(self) -> None:
        """Cut all connections."""
        if self._pool is not None:
            self._pool.terminate()


BUILD = Build(store=Pooled)

if __name__ == "__main__":
    sys.exit(main(BUILD))
