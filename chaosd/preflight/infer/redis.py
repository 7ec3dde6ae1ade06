"""What redis-py gives back, as far as it depends on `decode_responses`.

Source: the command tables of redis-py (`redis/commands/core.py`) and `redis.client.Redis.__init__`: without
`decode_responses=True` every bulk string comes as bytes, with it as str. Replies whose form depends on further
arguments (`withscores`, `count`, streams, pipelines) are unknown here.
"""

from __future__ import annotations

from chaosd.preflight.infer.values import (
    NOTHING,
    UNKNOWN,
    RedisClient,
    Scalar,
    Site,
    Values,
    container,
    join,
    many,
    one,
    pending,
    row,
)

_CLIENTS = frozenset({"Redis", "StrictRedis", "RedisCluster", "FakeRedis", "FakeStrictRedis", "FakeAsyncRedis"})
_POOLS = frozenset({"ConnectionPool", "BlockingConnectionPool"})
_PACKAGES = frozenset({"redis", "aioredis", "fakeredis"})
_ONE = frozenset(
    "get getdel getset getex hget lindex rpoplpush brpoplpush lmove blmove randomkey getrange echo type".split()
)
_ONE_WITHOUT_COUNT = frozenset("lpop rpop spop srandmember".split())
_MANY = frozenset("mget hmget hvals hkeys lrange keys smembers sinter sunion sdiff".split())
_MANY_WITHOUT_OPTIONS = frozenset("zrange zrevrange zrangebyscore zrevrangebyscore".split())
_ITERATED = frozenset({"scan_iter", "sscan_iter"})
_ITERATED_PAIRS = frozenset({"hscan_iter"})
_POPPED_PAIR = frozenset({"blpop", "brpop"})


def client_kind(path: str) -> str | None:
    """`client`, `pool` or `from_pool` when calling the dotted path builds one, None when it does not."""
    parts = path.split(".")
    if parts[0] not in _PACKAGES:
        return None
    name = parts[-1]
    if name in _CLIENTS:
        return "client"
    if name in _POOLS:
        return "pool"
    if name == "from_url":
        return "pool" if parts[-2] in _POOLS else "client"
    return "from_pool" if name == "from_pool" and parts[-2] in _CLIENTS else None


def is_asynchronous(path: str) -> bool:
    """Whether clients made by this path give coroutines."""
    return "asyncio" in path or "aioredis" in path or "Async" in path


def built(path: str, mode: Values | None, pool: Values | None, site: Site) -> Values:
    """The client (or pool) that a constructor gives. `mode` is the value of decode_responses, None when not passed."""
    kind = client_kind(path)
    if pool is not None:
        clients = [
            one(RedisClient(atom.decodes, is_asynchronous(path), atom.origin))
            if isinstance(atom, RedisClient) and atom.pool
            else UNKNOWN
            for atom in pool.atoms
        ]
        return join(*clients, UNKNOWN if pool.open or not clients else NOTHING)
    if mode is None:
        modes = [False]
    elif mode.open or not mode.atoms:
        return UNKNOWN
    else:
        known = [atom.truth for atom in mode.atoms if isinstance(atom, Scalar) and atom.truth is not None]
        if len(known) != len(mode.atoms):
            return UNKNOWN
        modes = sorted(known)
    return many(RedisClient(decodes, is_asynchronous(path), site, pool=kind == "pool") for decodes in modes)


def reply(client: RedisClient, command: str, *, plain: bool) -> Values:
    """What a command gives. `plain`: it was called without options that change the form of the reply."""
    text = one(Scalar("str" if client.decodes else "bytes", origin=client.origin))
    listed = container(mapping=False, item=text)
    if command in _ITERATED:
        return listed
    if command in _ITERATED_PAIRS:
        return container(mapping=False, item=row(text, text))
    if command in _ONE or (command in _ONE_WITHOUT_COUNT and plain):
        found = text
    elif command in _MANY or (command in _MANY_WITHOUT_OPTIONS and plain):
        found = listed
    elif command == "hgetall":
        found = container(mapping=True, key=text, item=text)
    elif command in _POPPED_PAIR:
        found = row(text, text)
    elif command in {"client", "__enter__", "__aenter__"}:
        return one(client)
    else:
        return UNKNOWN
    return pending(found) if client.asynchronous else found


def depends_on_mode(command: str) -> bool:
    """Whether the reply of a command has another type when `decode_responses` changes."""
    return command in _ONE | _ONE_WITHOUT_COUNT | _MANY | _MANY_WITHOUT_OPTIONS | _ITERATED | _ITERATED_PAIRS | (
        _POPPED_PAIR | {"hgetall"}
    )
