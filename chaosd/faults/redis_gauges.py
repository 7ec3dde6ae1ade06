"""What Redis tells of itself: its settings, its clients, and whether it takes a write; and who its clients are.

Sources: redis.io/docs/latest/commands/info and /client-list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from chaosd.faults import servers
from chaosd.faults.fault import Bench
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.testbed import session
from chaosd.testbed.gauges import Gauges, Read
from chaosd.testbed.session import RedisError, RedisSession
from chaosd.testbed.testbed import Testbed

REDIS = "redis"
# A write that changes nothing: on a key that is not there an empty text at offset 0 makes none.
_EMPTY_WRITE = ("SETRANGE", "chaosd:canary", "0", "")
# A key of chaosd's own, which is lost with all others.
_KEPT = "chaosd:kept"
# What the gauge of the oldest connection tells where there is none: later than any.
_NO_CONNECTION = 10**12


@dataclass(frozen=True, slots=True)
class Client:
    """A line of CLIENT LIST."""

    id: int
    name: str
    host: str
    ordinary: bool


@dataclass(frozen=True, slots=True)
class _Said:
    """What Redis tells in one reading."""

    info: dict[str, str]
    clients: list[Client]
    write: Any
    host: str
    losses: int


def targets(clients: list[Client], host: str) -> list[Client]:
    """The target's connections: not chaosd's, and from where the proxy's come, where others use the server too."""
    return [
        one
        for one in clients
        if one.ordinary and not one.name.startswith(session.NAMES) and (not host or one.host == host)
    ]


def clients_of(text: str) -> list[Client]:
    """What CLIENT LIST says."""
    found = []
    for line in text.splitlines():
        told = dict(word.partition("=")[::2] for word in line.split(" "))
        host = told.get("addr", "").rpartition(":")[0]
        found.append(Client(int(told["id"]), told.get("name", ""), host, "N" in told.get("flags", "")))
    return found


def info_of(text: str) -> dict[str, str]:
    """What INFO says, without its sections."""
    return dict(line.partition(":")[::2] for line in text.splitlines() if ":" in line)


async def opened(bench: Bench | Testbed, name: str = session.NAMES) -> RedisSession:
    """A session on the DIRECT side. Raises StackError."""
    return await session.redis(bench.stack.endpoints.direct.redis, servers.clock, name)


async def host_of(bench: Bench | Testbed, own: RedisSession) -> str:
    """From where the connections through the proxy come, as Redis sees it; empty: all but chaosd's are the target's."""
    if servers.OWN in bench.stack.capabilities:
        return ""
    name = f"{session.NAMES}-way"
    through = await session.redis(bench.stack.endpoints.proxied.redis, servers.clock, name)
    try:
        return next(one.host for one in clients_of(await own.do("CLIENT", "LIST")) if one.name == name)
    finally:
        through.close()


_TELLS: dict[str, Callable[[_Said], int]] = {
    "maxmemory": lambda said: int(said.info["maxmemory"]),
    "maxclients": lambda said: int(said.info["maxclients"]),
    # The connections that the target has or may still get.
    "room": lambda said: int(said.info["maxclients"]) - len(said.clients) + len(targets(said.clients, said.host)),
    "rejected_connections": lambda said: int(said.info["rejected_connections"]),
    "replica": lambda said: said.info["role"] == "slave",
    "losses": lambda said: said.losses,
    "writes_out_of_memory": lambda said: isinstance(said.write, RedisError) and said.write.code == "OOM",
    "writes_read_only": lambda said: isinstance(said.write, RedisError) and said.write.code == "READONLY",
    "oldest_connection": lambda said: min((x.id for x in targets(said.clients, said.host)), default=_NO_CONNECTION),
    "chaosd_breaks": lambda said: sum(one.name.startswith(servers.BREAKS) for one in said.clients),
}

_OF_TARGET = {"room", "oldest_connection"}


@asynccontextmanager
async def _reading(testbed: Testbed, names: tuple[str, ...]) -> AsyncIterator[Read]:
    own = await opened(testbed, f"{session.NAMES}-gauges")
    try:
        host = await host_of(testbed, own) if _OF_TARGET & set(names) else ""
        losses, stored = 0, False

        async def read() -> list[int]:
            nonlocal losses, stored
            info, clients, write = await own.ask(("INFO",), ("CLIENT", "LIST"), _EMPTY_WRITE)
            if isinstance(info, RedisError) or isinstance(clients, RedisError):
                raise StackError(f"redis does not tell: {info if isinstance(info, RedisError) else clients}")
            if "losses" in names:
                kept, answer = await own.ask(("EXISTS", _KEPT), ("SET", _KEPT, "1", "EX", "60"))
                losses += stored and kept == 0
                stored = answer == "OK"
            said = _Said(info_of(info), clients_of(clients), write, host, losses)
            try:
                return [int(_TELLS[name](said)) for name in names]
            except KeyError as missing:
                raise StackError(f"this redis does not tell {missing}") from missing

        yield read
    finally:
        own.close()


def gauges(*names: str) -> Callable[[str, Any], tuple[Gauges, ...]]:
    """The gauges of a fault."""
    return lambda on, params: (Gauges(REDIS, names, lambda testbed: _reading(testbed, names)),)


def told(gauge: str, relation: Relation, amount: float = 0.0) -> Proof:
    """A proof by one of them."""
    return Proof(Source.GAUGE, REDIS, relation, amount, gauge=gauge)
