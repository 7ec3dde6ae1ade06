"""What is read only once, when the run is over: topics between services, and rows of tables in PostgreSQL.

Each of them becomes a record like any other. Times say nothing there: nobody looked while they came.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from chaosd.experiment.contract import Table
from chaosd.journal.columns import Role
from chaosd.kernel.clock import Clock
from chaosd.traffic.config import Config
from chaosd.traffic.progress import Progress
from chaosd.traffic.reader import Reader
from chaosd.traffic.sight import Record

if TYPE_CHECKING:
    import asyncpg

Take = Callable[[Sequence[Record]], None]

_ROWS_AT_ONCE = 2_000
_CONNECT_S = 5.0


class Unread(Exception):
    """A table cannot be read; the message says which and why."""


@dataclass(slots=True)
class Row:
    """A row of a table in the shape of a record: `value` is JSON, column → text or null."""

    topic: str
    offset: int
    value: bytes | None
    partition: int = 0
    timestamp: int = -1
    key: bytes | None = None
    headers: Any = field(default=())


class Afterwards:
    """Knows where the run began in the topics between services, and reads all of it at the end."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        inside = [one for one in config.later if one.role == Role.INTERNAL.name.lower()]
        self._partitions = [TopicPartition(one.name, number) for one in inside for number in range(one.partitions)]
        self._starts: dict[TopicPartition, int] = {}

    async def begin(self, progress: Progress) -> None:
        """The ends of now: what comes after them is of this run. Raises KafkaError or TimeoutError without answer."""
        if self._partitions:
            _, self._starts = await progress.bounds(self._partitions)

    async def read(self, take: Take, progress: Progress, dsn: str) -> None:
        """Hand on every record and every row. Raises Unread; the caller bounds the time."""
        if self._partitions:
            _, ends = await progress.bounds(self._partitions)
            reader = Reader(self._config.bootstrap, "inside", self._starts, self._clock)
            try:
                await reader.read_to(take, ends)
            finally:
                await reader.close()
        for table in self._config.contract.tables if self._config.contract is not None else ():
            async for found in rows(table, dsn):
                take(found)


async def rows(table: Table, dsn: str) -> AsyncIterator[list[Row]]:
    """The rows of a table as of one moment, many at once. Values are the texts that PostgreSQL makes of them.

    Raises Unread.
    """
    import asyncpg  # noqa: PLC0415 - most pipelines have no table to read

    names = (table.key, *table.columns)
    try:
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_S)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                offset = 0
                cursor = await connection.cursor(_select(table.name, names))
                while found := await cursor.fetch(_ROWS_AT_ONCE):
                    yield [_row(table, offset + n, names, row) for n, row in enumerate(found)]
                    offset += len(found)
        finally:
            await connection.close(timeout=_CONNECT_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Unread(f"table {table.name} cannot be read: {error}") from error


def _row(table: Table, offset: int, names: Sequence[str], row: asyncpg.Record) -> Row:
    return Row(table.title, offset, json.dumps(dict(zip(names, row, strict=True))).encode())


def _select(table: str, columns: Sequence[str]) -> str:
    told = ", ".join(f"{_quoted(column)}::text" for column in columns)
    return f"SELECT {told} FROM {'.'.join(map(_quoted, table.split('.')))}"  # noqa: S608 - quoted as identifiers


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
