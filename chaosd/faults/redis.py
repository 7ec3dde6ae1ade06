"""Faults that Redis itself makes, by its own commands on the DIRECT side. What they set is in its memory only.

Sources: redis.io/docs/latest/commands (CLIENT KILL, CONFIG SET, REPLICAOF, FLUSHALL, INFO).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from pydantic import Field

from chaosd.faults import params as words
from chaosd.faults import redis_gauges as tells
from chaosd.faults import servers
from chaosd.faults.fault import Bench, Cleared, Fault
from chaosd.faults.params import NoParams, Params, Period, Size
from chaosd.faults.redis_gauges import REDIS
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.testbed.session import RedisSession

ON = (REDIS,)
# So long an undo waits for a free connection, before it restarts a Redis of chaosd's own.
_FULL_PATIENCE_NS = 3 * SECOND


class ClientKillParams(Params):
    """The server closes the target's connections."""

    every: Period = Field(default="500ms", description="Again after this time, as long as the fault lasts.")


class MaxmemoryParams(Params):
    """Redis has no memory left and may evict nothing: it refuses what would need more."""

    headroom: Size = Field(
        default="0B", description="How much more than it uses now it may use; 0B: not a single write more."
    )


class MaxclientsParams(Params):
    """Redis takes no further connection. Those of the target are closed first: they would be left alone."""

    leave: int = Field(default=0, ge=0, le=1000, description="How many connections are left for the target.")


async def _kill(own: RedisSession, host: str) -> int:
    """Close the target's connections; gives how many there were."""
    found = tells.targets(tells.clients_of(await own.do("CLIENT", "LIST")), host)
    if found:
        # One that has just gone by itself is an error of its own command only.
        await own.ask(*(("CLIENT", "KILL", "ID", str(one.id)) for one in found))
    return len(found)


def _proofs(*proofs: Proof) -> Callable[[str, Any], tuple[Proof, ...]]:
    return lambda on, params: proofs


async def _settings(own: RedisSession, *names: str) -> dict[str, str]:
    return {name: (await own.do("CONFIG", "GET", name))[1] for name in names}


async def _set(own: RedisSession, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        await own.do("CONFIG", "SET", name, value)


async def _prepare_kill(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    with closing(await tells.opened(bench)) as own:
        return {"host": await tells.host_of(bench, own)}


async def _inject_kill(
    bench: Bench, on: str, params: ClientKillParams, memo: dict[str, Any], tag: str
) -> dict[str, Any]:
    own = await tells.opened(bench, servers.mark(tag))
    killed = await servers.begin(tag, own, words.period_s(params.every), lambda: _kill(own, memo["host"]))
    return {"connections_closed": killed}


async def _undo_kill(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    low_ns = servers.clock.now_ns()
    await servers.release(tag)

    async def mend(own: RedisSession) -> dict[str, str]:
        # Another process may be at it, or its last command be on the way: gone is what the server says is gone.
        while mine := [
            one for one in tells.clients_of(await own.do("CLIENT", "LIST")) if one.name == servers.mark(tag)
        ]:
            await own.ask(*(("CLIENT", "KILL", "ID", str(one.id)) for one in mine))
        return {}

    return await servers.mended(bench, REDIS, tells.opened, mend, low_ns)


_MEMORY = ("maxmemory", "maxmemory-policy")


async def _prepare_memory(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    with closing(await tells.opened(bench)) as own:
        return await _settings(own, *_MEMORY)


async def _inject_memory(
    bench: Bench, on: str, params: MaxmemoryParams, memo: dict[str, Any], tag: str
) -> dict[str, Any]:
    with closing(await tells.opened(bench)) as own:
        used = int(tells.info_of(await own.do("INFO", "memory"))["used_memory"])
        headroom = words.size_bytes(params.headroom)
        # What it uses now may be freed a moment later; a single byte never is.
        limit = used + headroom if headroom else 1
        await _set(own, {"maxmemory-policy": "noeviction", "maxmemory": str(limit)})
        return {"used_memory": used, **await _settings(own, *_MEMORY)}


async def _undo_memory(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    async def mend(own: RedisSession) -> dict[str, str]:
        await _set(own, {name: memo[name] for name in _MEMORY})
        return await _settings(own, *_MEMORY)

    return await servers.mended(bench, REDIS, tells.opened, mend)


async def _replication(own: RedisSession) -> dict[str, str]:
    told = tells.info_of(await own.do("INFO", "replication"))
    return {name: told[name] for name in ("role", "master_host", "master_port") if name in told}


async def _prepare_replica(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    with closing(await tells.opened(bench)) as own:
        told = await _replication(own)
        if told["role"] != "master":
            raise StackError(f"redis is a replica of {told.get('master_host')} already", remedy="name its master")
        return {"port": tells.info_of(await own.do("INFO", "server"))["tcp_port"]}


async def _inject_replica(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    with closing(await tells.opened(bench)) as own:
        # Of itself: it never gets a copy from there, so that its data stay.
        await own.do("REPLICAOF", "127.0.0.1", memo["port"])
        return await _replication(own)


async def _undo_replica(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    async def mend(own: RedisSession) -> dict[str, str]:
        await own.do("REPLICAOF", "NO", "ONE")
        return await _replication(own)

    return await servers.mended(bench, REDIS, tells.opened, mend)


async def _prepare_full(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    with closing(await tells.opened(bench)) as own:
        return {**await _settings(own, "maxclients"), "host": await tells.host_of(bench, own)}


async def _inject_full(
    bench: Bench, on: str, params: MaxclientsParams, memo: dict[str, Any], tag: str
) -> dict[str, Any]:
    own = await tells.opened(bench, servers.mark(tag))

    async def fill() -> bool:
        return await _fill(own, memo["host"], params.leave)

    # This session is the way back in: nobody can open another connection.
    await servers.fill(tag, [own], fill, "redis still takes connections of the target: others come and go too quickly")
    told = await _settings(own, "maxclients")
    servers.hold_and_repeat(tag, [own], servers.REFILL_S, fill)
    return told


async def _fill(own: RedisSession, host: str, leave: int) -> bool:
    """Allow as many connections as there are without the target's; whether it was so already."""
    clients = tells.clients_of(await own.do("CLIENT", "LIST"))
    mine = len(tells.targets(clients, host))
    others = len(clients) - mine
    full = mine <= leave and int((await _settings(own, "maxclients"))["maxclients"]) <= others + leave
    if not full:
        await _set(own, {"maxclients": str(others + leave)})
        if mine > leave:
            await _kill(own, host)
    return full


async def _undo_full(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    low_ns = servers.clock.now_ns()
    if servers.died(bench, REDIS):
        await servers.release(tag)
        return servers.ended(REDIS, low_ns)
    for inside in await servers.at_rest(tag):
        if isinstance(inside, RedisSession):
            with suppress(StackError):
                await _set(inside, {"maxclients": memo["maxclients"]})
    await servers.release(tag)
    try:
        own = await servers.patiently(lambda: tells.opened(bench), _FULL_PATIENCE_NS)
    except StackError:
        if servers.owned(bench) and not servers.stopped(bench, REDIS):
            # Whoever injected it hangs, and holds all the connections that there may be.
            await bench.stack.stop_part(REDIS)
            again = await bench.start(REDIS)
            return Cleared(again.ready_low_ns, again.ready_ns, {"redis": "restarted: no connection was left"})
        own = await servers.patiently(lambda: tells.opened(bench))
    try:
        await _set(own, {"maxclients": memo["maxclients"]})
        return Cleared(low_ns, servers.clock.now_ns(), await _settings(own, "maxclients"))
    finally:
        own.close()


async def _prepare_flush(bench: Bench, on: str, params: Any) -> dict[str, Any]:
    return {}


async def _inject_flush(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    with closing(await tells.opened(bench)) as own:
        await own.do("FLUSHALL")
        return {"keys_left": await own.do("DBSIZE")}


async def _undo_flush(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    now_ns = servers.clock.now_ns()
    return Cleared(now_ns, now_ns, {"keys": "they are not brought back"})


_SERVES = Proof(Source.OUTCOME, REDIS, Relation.NONE_OF, words=("refused", "error"))

client_kill = Fault(
    "client_kill",
    ClientKillParams,
    ON,
    servers.NEEDS,
    _prepare_kill,
    _inject_kill,
    _undo_kill,
    _proofs(tells.told("oldest_connection", Relation.RISES_BY, 1)),
    _proofs(tells.told("chaosd_breaks", Relation.AT_MOST, 0), _SERVES),
    "Redis closes the target's connections, again and again (CLIENT KILL).",
    gauges=tells.gauges("oldest_connection", "chaosd_breaks"),
)
maxmemory = Fault(
    "maxmemory",
    MaxmemoryParams,
    ON,
    servers.NEEDS,
    _prepare_memory,
    _inject_memory,
    _undo_memory,
    _proofs(tells.told("writes_out_of_memory", Relation.AT_LEAST, 1)),
    _proofs(
        tells.told("writes_out_of_memory", Relation.AT_MOST, 0), tells.told("maxmemory", Relation.BACK_TO_BASELINE)
    ),
    "Redis is out of memory and evicts nothing: writes are refused (OOM), reads go on.",
    gauges=tells.gauges("writes_out_of_memory", "maxmemory"),
)
readonly_replica = Fault(
    "readonly_replica",
    NoParams,
    ON,
    servers.NEEDS,
    _prepare_replica,
    _inject_replica,
    _undo_replica,
    _proofs(tells.told("replica", Relation.AT_LEAST, 1), tells.told("writes_read_only", Relation.AT_LEAST, 1)),
    _proofs(tells.told("replica", Relation.AT_MOST, 0), tells.told("writes_read_only", Relation.AT_MOST, 0)),
    "Redis has become a replica, as in a failover: writes are refused (READONLY), reads go on.",
    gauges=tells.gauges("replica", "writes_read_only"),
)
maxclients = Fault(
    "maxclients",
    MaxclientsParams,
    ON,
    servers.NEEDS,
    _prepare_full,
    _inject_full,
    _undo_full,
    lambda on, params: (
        tells.told("room", Relation.AT_MOST, params.leave),
        *(() if params.leave else (tells.told("rejected_connections", Relation.RISES_BY, 1),)),
    ),
    _proofs(tells.told("maxclients", Relation.BACK_TO_BASELINE), _SERVES),
    "Redis has as many clients as it may have: the target's connections are closed and new ones refused.",
    gauges=tells.gauges("room", "rejected_connections", "maxclients"),
    keeps_out=True,
)
flush = Fault(
    "flush",
    NoParams,
    ON,
    servers.OWN,
    _prepare_flush,
    _inject_flush,
    _undo_flush,
    _proofs(tells.told("losses", Relation.RISES_BY, 1)),
    _proofs(_SERVES),
    "Everything in Redis is deleted (FLUSHALL), and not brought back.",
    voids=("results",),
    irreversible=True,
    gauges=tells.gauges("losses"),
)
