"""Faults that PostgreSQL itself makes, by statements of chaosd's superuser on the DIRECT side.

The target is known by its role: its sessions are those of the role that the PROXIED side has, but for chaosd's own.
Sources: postgresql.org/docs/current, chapters "Monitoring Statistics", "Explicit Locking", "ALTER SYSTEM", "CREATE
TRIGGER".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from pydantic import Field

from chaosd.faults import params as words
from chaosd.faults import postgres_gauges as tells
from chaosd.faults import servers
from chaosd.faults.fault import Bench, Cleared, Fault
from chaosd.faults.params import NoParams, Params, Period, Sleep, Table
from chaosd.faults.postgres_gauges import POSTGRES
from chaosd.faults.servers import Session
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.testbed import session
from chaosd.testbed.session import PostgresSession, Refused

ON = (POSTGRES,)
_LEAST_VERSION = 140_000  # pg_stat_database counts terminated sessions
_TOO_MANY = "53300"
# More idle connections than that are no test of a pipeline but of the machine.
_MOST_CONNECTIONS = 500
_SETTLES_S = 0.02
_LOCK_S = 5
_CHANGE_S = 15.0
_WHERE = (
    "SELECT quote_ident(nspname), quote_ident(relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
    " WHERE pg_class.oid = to_regclass({})"
)
_END = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {}"


class TerminateParams(Params):
    """The server ends the target's sessions, whatever they are doing."""

    every: Period = Field(default="500ms", description="Again after this time, as long as the fault lasts.")


class ExhaustParams(Params):
    """All connections that the target's role may have are taken. Its own are ended first: they would be left alone."""

    leave: int = Field(default=0, ge=0, le=1000, description="How many connections are left for the target.")


class LockParams(Params):
    """A table is locked as by a migration that does not come to its end (ACCESS EXCLUSIVE)."""

    table: Table = Field(description="Of the target's database; with its schema where it is not in the search path.")


class SlowParams(Params):
    """Every statement that writes to a table sleeps first: a trigger, made for the time of the fault, does that."""

    table: Table = Field(description="Of the target's database; with its schema where it is not in the search path.")
    delay: Sleep = Field(description="How long every INSERT, UPDATE and DELETE sleeps.")


def _proofs(*proofs: Proof) -> Callable[[str, Any], tuple[Proof, ...]]:
    return lambda on, params: proofs


async def _prepare(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    """Whether chaosd may do it at all, and where the table is."""
    with closing(await tells.opened(bench)) as own:
        ((version, superuser),) = await own.ask(
            "SELECT current_setting('server_version_num'), rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        if superuser != "t":
            raise StackError(
                "chaosd's role on postgres is no superuser",
                remedy="give the DIRECT side one, or use the embedded stack",
            )
        if int(version or 0) < _LEAST_VERSION:
            raise StackError(f"postgres tells version {version}; this fault needs 14 or newer")
        if not (table := getattr(params, "table", "")):
            return {}
        rows = await own.ask(_WHERE.format(tells.text(table)))
        if not rows:
            database = bench.stack.endpoints.direct.postgres.database
            raise StackError(
                f"there is no table {table} in the database {database}", remedy="name one that the target writes to"
            )
        return {"schema": rows[0][0], "table": rows[0][1]}


async def _end_sessions(own: PostgresSession, condition: str) -> int:
    """Terminate sessions; gives how many there were."""
    ((ended,),) = await own.ask(_END.format(condition))
    return int(ended or 0)


async def _undo_held(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    """End all sessions of an injection: here, and as the server knows them."""
    low_ns = servers.clock.now_ns()
    await servers.release(tag)

    async def mend(own: PostgresSession) -> dict[str, int]:
        ended = 0
        while left := await _end_sessions(own, f"application_name = {tells.text(servers.mark(tag))}"):
            ended += left
            await asyncio.sleep(_SETTLES_S)
        return {"sessions_ended": ended}

    return await servers.mended(bench, POSTGRES, tells.opened, mend, low_ns)


async def _inject_terminate(
    bench: Bench, on: str, params: TerminateParams, memo: dict[str, Any], tag: str
) -> dict[str, Any]:
    own = await tells.opened(bench, servers.mark(tag))
    target = tells.targets(bench)
    ended = await servers.begin(tag, own, words.period_s(params.every), lambda: _end_sessions(own, target))
    return {"sessions_ended": ended}


async def _inject_exhaust(
    bench: Bench, on: str, params: ExhaustParams, memo: dict[str, Any], tag: str
) -> dict[str, Any]:
    own = await tells.opened(bench, servers.mark(tag))
    taken: list[Session] = [own]

    async def full() -> bool:
        return await _take(bench, own, taken, params.leave, tag)

    await servers.fill(tag, taken, full, "the connections of postgres cannot be taken: others are quicker")
    servers.hold_and_repeat(tag, taken, servers.REFILL_S, full)
    return {"connections_taken": len(taken) - 1}


async def _take(bench: Bench, own: PostgresSession, taken: list[Session], leave: int, tag: str) -> bool:
    """Take what the target has or could have beyond `leave`; whether there was nothing to take."""
    ((room, mine),) = await own.ask(tells.room(bench))
    excess = int(room or 0) - leave
    if excess <= 0:
        return True
    if len(taken) + excess > _MOST_CONNECTIONS:
        raise StackError(f"postgres has more than {_MOST_CONNECTIONS} connections", remedy="a smaller max_connections")
    if int(mine or 0) > leave:
        await _end_sessions(own, tells.targets(bench))
    direct, proxied = bench.stack.endpoints.direct.postgres, bench.stack.endpoints.proxied.postgres
    ordinary = replace(direct, user=proxied.user, password=proxied.password)
    for _ in range(excess):
        try:
            taken.append(await session.postgres(ordinary, servers.clock, servers.mark(tag)))
        except Refused as refused:
            if refused.code != _TOO_MANY:
                raise
            break
    return False


async def _inject_lock(bench: Bench, on: str, params: LockParams, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    own = await tells.opened(bench, servers.mark(tag))
    servers.hold(tag, [own])
    table = f"{memo['schema']}.{memo['table']}"
    # Left open: the lock ends with this session.
    await own.ask(
        f"BEGIN; SET LOCAL lock_timeout = '{_LOCK_S}s'; SET LOCAL idle_in_transaction_session_timeout = 0;"
        f" LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        _LOCK_S + 1.0,
    )
    return {"locked": table}


_OF_SYSTEM = (
    "SELECT setting FROM pg_file_settings WHERE name = 'default_transaction_read_only'"
    " AND sourcefile LIKE '%postgresql.auto.conf'"
)


async def _prepare_read_only(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    await _prepare(bench, on, params)
    with closing(await tells.opened(bench)) as own:
        rows = await own.ask(_OF_SYSTEM)
        return {"before": rows[0][0] if rows else None}


async def _alter_system(bench: Bench, value: str | None) -> dict[str, Any]:
    """Set it, and wait until new sessions have it: existing ones take it over with their next statement."""
    with closing(await tells.opened(bench)) as own:
        what = f"SET default_transaction_read_only = {value}" if value else "RESET default_transaction_read_only"
        await own.ask(f"ALTER SYSTEM {what}")
        await own.ask("SELECT pg_reload_conf()")

    async def seen() -> dict[str, Any]:
        with closing(await tells.opened(bench)) as fresh:
            ((told,),) = await fresh.ask("SHOW default_transaction_read_only")
        if (told == "on") != (value == "on"):
            raise StackError(f"postgres still has default_transaction_read_only {told}")
        return {"default_transaction_read_only": told}

    return await servers.patiently(seen)


async def _inject_read_only(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    return await _alter_system(bench, "on")


async def _undo_read_only(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    # It is in a file: a server that is down must come back before it can be taken out.
    async def attempt() -> Cleared:
        low_ns = servers.clock.now_ns()
        told = await _alter_system(bench, memo["before"])
        return Cleared(low_ns, servers.clock.now_ns(), told)

    return await servers.patiently(attempt)


def _trigger(tag: str) -> str:
    return servers.mark(tag).replace("-", "_")


async def _inject_slow(bench: Bench, on: str, params: SlowParams, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    name, delay_s = f"{memo['schema']}.{_trigger(tag)}", words.delay_ms(params.delay) / 1000
    with closing(await tells.opened(bench)) as own:
        await own.ask(
            f"BEGIN READ WRITE; SET LOCAL lock_timeout = '{_LOCK_S}s';"
            f" CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_catalog.pg_sleep({delay_s:g}); RETURN NULL; END $$;"
            f" CREATE TRIGGER {_trigger(tag)} BEFORE INSERT OR UPDATE OR DELETE ON {memo['schema']}.{memo['table']}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {name}(); COMMIT",
            _LOCK_S + 1.0,
        )
        return {"trigger": name}


async def _undo_slow(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    low_ns = servers.clock.now_ns()

    async def attempt() -> Cleared:
        with closing(await tells.opened(bench)) as own:
            # With its trigger. It waits for the statements under way, which sleep to their end.
            await own.ask(
                f"BEGIN READ WRITE; DROP FUNCTION IF EXISTS {memo['schema']}.{_trigger(tag)}() CASCADE; COMMIT",
                _CHANGE_S,
            )
            return Cleared(low_ns, servers.clock.now_ns())

    return await servers.patiently(attempt)


_SERVES = Proof(Source.OUTCOME, POSTGRES, Relation.NONE_OF, words=("refused", "error"))
_LET_GO = tells.told("chaosd_breaks", Relation.AT_MOST, 0)

terminate_backends = Fault(
    "terminate_backends",
    TerminateParams,
    ON,
    servers.NEEDS,
    _prepare,
    _inject_terminate,
    _undo_held,
    _proofs(tells.told("sessions_killed", Relation.RISES_BY, 1)),
    _proofs(_LET_GO, _SERVES),
    "PostgreSQL ends the target's sessions, again and again (pg_terminate_backend).",
    gauges=tells.gauges("sessions_killed", "chaosd_breaks"),
)
exhaust_connections = Fault(
    "exhaust_connections",
    ExhaustParams,
    ON,
    servers.NEEDS,
    _prepare,
    _inject_exhaust,
    _undo_held,
    lambda on, params: (tells.told("room", Relation.AT_MOST, params.leave),),
    lambda on, params: (_LET_GO, tells.told("room", Relation.AT_LEAST, params.leave + 1)),
    "All ordinary connections of PostgreSQL are taken: the target's are ended and new ones refused.",
    gauges=tells.gauges("room", "chaosd_breaks"),
    keeps_out=True,  # a superuser's place may be left, and the canaries may have it
)
lock_table = Fault(
    "lock_table",
    LockParams,
    ON,
    servers.NEEDS,
    _prepare,
    _inject_lock,
    _undo_held,
    lambda on, params: tuple(tells.told(name, Relation.AT_LEAST, 1, params.table) for name in ("locked", "waiting")),
    lambda on, params: (_LET_GO, tells.told("locked", Relation.AT_MOST, 0, params.table)),
    "A table is locked (ACCESS EXCLUSIVE): whoever reads or writes it waits.",
    gauges=tells.gauges("locked", "waiting", "chaosd_breaks"),
)
read_only = Fault(
    "read_only",
    NoParams,
    ON,
    servers.NEEDS,
    _prepare_read_only,
    _inject_read_only,
    _undo_read_only,
    _proofs(tells.told("read_only", Relation.AT_LEAST, 1)),
    _proofs(tells.told("read_only", Relation.AT_MOST, 0)),
    "Transactions are read-only by default, as after a failover to a standby: writes fail, reads go on.",
    gauges=tells.gauges("read_only"),
)
slow_statements = Fault(
    "slow_statements",
    SlowParams,
    ON,
    servers.NEEDS,
    _prepare,
    _inject_slow,
    _undo_slow,
    # A statement is seen somewhere on its way: half of the delay is sure to be seen of one among many.
    lambda on, params: (tells.told("slept_ms", Relation.AT_LEAST, words.delay_ms(params.delay) / 2),),
    _proofs(tells.told("slept_ms", Relation.AT_MOST, 0), tells.told("chaosd_triggers", Relation.AT_MOST, 0)),
    "Every statement that writes to a table takes longer: a trigger that sleeps is made, and dropped again.",
    gauges=tells.gauges("slept_ms", "chaosd_triggers"),
)
