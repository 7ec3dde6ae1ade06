"""What PostgreSQL tells of itself: its sessions, locks, settings; and which of the sessions are the target's.

Source: postgresql.org/docs/current/monitoring-stats.html, /view-pg-locks.html.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from chaosd.faults import servers
from chaosd.faults.fault import Bench
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.testbed import session
from chaosd.testbed.gauges import Gauges, Read
from chaosd.testbed.session import PostgresSession
from chaosd.testbed.testbed import Testbed

POSTGRES = "postgres"


def text(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def targets(bench: Bench | Testbed) -> str:
    """The condition for sessions of the target in pg_stat_activity."""
    role = bench.stack.endpoints.proxied.postgres.user
    return (
        f"usename = {text(role)} AND application_name NOT LIKE '{session.NAMES}%' AND backend_type = 'client backend'"
    )


async def opened(bench: Bench | Testbed, name: str = session.NAMES) -> PostgresSession:
    """A session of chaosd's superuser on the DIRECT side. Raises StackError."""
    return await session.postgres(bench.stack.endpoints.direct.postgres, servers.clock, name)


# What can be told, as SQL expressions: {target} is the condition for the target's sessions, {breaks} what the names
# of sessions are like by which chaosd breaks something, {table} a table's name.
_TELLS = {
    "sessions_killed": "(SELECT sessions_killed FROM pg_stat_database WHERE datname = current_database())",
    # The connections that the target has or may still get.
    "room": (
        "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true), '0')::int"
        " - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND NOT ({target}))"
    ),
    "chaosd_breaks": "(SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE {breaks})",
    "locked": (
        "(SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE granted"
        " AND mode = 'AccessExclusiveLock' AND relation = to_regclass({table}) AND application_name LIKE {breaks})"
    ),
    "waiting": (
        "(SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
        " AND relation = to_regclass({table}) AND {target})"
    ),
    "read_only": "(current_setting('transaction_read_only') = 'on')::int",
    "slept_ms": (
        "(SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start) * 1000), 0)::bigint"
        " FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND {target})"
    ),
    "chaosd_triggers": "(SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'chaosd\\_fault\\_%')",
}

_ROOM = " ".join(("SELECT", _TELLS["room"], ", count(*) FROM pg_stat_activity WHERE {target}"))


def room(bench: Bench) -> str:
    """The query for what the target has or may still get, and for what it has."""
    return _ROOM.format(target=targets(bench))


@asynccontextmanager
async def _reading(testbed: Testbed, names: tuple[str, ...], table: str) -> AsyncIterator[Read]:
    filled = {"target": targets(testbed), "breaks": text(f"{servers.BREAKS}%"), "table": text(table)}
    query = "SELECT " + ", ".join(_TELLS[name].format(**filled) for name in names)
    own = await opened(testbed, f"{session.NAMES}-gauges")
    try:

        async def read() -> list[int]:
            (row,) = await own.ask(query)
            return [int(value or 0) for value in row]

        yield read
    finally:
        own.close()


def gauges(*names: str) -> Callable[[str, Any], tuple[Gauges, ...]]:
    """The gauges of a fault. Those about a table bear its name, so that two faults on two tables are told apart."""

    def gauges(on: str, params: Any) -> tuple[Gauges, ...]:
        table = getattr(params, "table", "")
        told = tuple(_title(name, table) for name in names)
        return (Gauges(POSTGRES, told, lambda testbed: _reading(testbed, names, table)),)

    return gauges


def _title(gauge: str, table: str) -> str:
    return f"{gauge}:{table}" if "{table}" in _TELLS[gauge] else gauge


def told(gauge: str, relation: Relation, amount: float = 0.0, table: str = "") -> Proof:
    """A proof by one of them."""
    return Proof(Source.GAUGE, POSTGRES, relation, amount, gauge=_title(gauge, table))
