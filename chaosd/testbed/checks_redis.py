"""Redis as the pipeline meets it: both decode modes, time to live, a pool under more callers than connections."""

from __future__ import annotations

import asyncio
import secrets

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from chaosd.kernel.clock import SECOND, Clock
from chaosd.stack.address import Address
from chaosd.testbed.checks import Check, holds, within

BUDGET_MS = 5.0
ERRORS = (redis.RedisError, OSError, TimeoutError)
_ROUNDS = 100
_LIMIT_S = 8.0
_TTL_S = 60


async def check(address: Address, clock: Clock) -> list[Check]:
    """Raises what redis-py raises when there is no answer."""
    key = f"chaosd-doctor:{secrets.token_hex(6)}"
    found: list[Check] = []
    async with asyncio.timeout(_LIMIT_S):
        for decodes in (True, False):
            async with _client(address, decodes=decodes) as client:
                found += await _mode(client, key, clock, decodes=decodes)
        found.append(await _pool(address, key))
    return found


def _client(address: Address, *, decodes: bool) -> redis.Redis:
    return redis.Redis(
        host=address.host, port=address.port, decode_responses=decodes, retry=Retry(NoBackoff(), 0), socket_timeout=2
    )


async def _mode(client: redis.Redis, key: str, clock: Clock, *, decodes: bool) -> list[Check]:
    name, kind = ("text", str) if decodes else ("bytes", bytes)
    took_ms = []
    for number in range(_ROUNDS):
        began_ns = clock.now_ns()
        await client.set(key, number, ex=_TTL_S)
        await client.get(key)
        took_ms.append((clock.now_ns() - began_ns) / 2 / (SECOND / 1000))
    value, keys = await client.get(key), [one async for one in client.scan_iter(key)]
    left_s = await client.ttl(key)
    await client.delete(key)
    types = f"value {type(value).__name__}, key {type(keys[0]).__name__ if keys else 'missing'}"
    typed = isinstance(value, kind) and bool(keys) and all(isinstance(one, kind) for one in keys)
    lives = f"{left_s} s left"
    return [
        within("redis", f"command, {name} mode", took_ms, BUDGET_MS, "is the machine busy? is a proxy's toxic left?"),
        holds("redis", f"types, {name} mode", passed=typed, measured=types, wanted=f"value and key {kind.__name__}"),
        holds(
            "redis",
            f"time to live, {name} mode",
            passed=0 < left_s <= _TTL_S,
            measured=lives,
            wanted=f"1 to {_TTL_S} s",
        ),
    ]


async def _count(client: redis.Redis, key: str) -> None:
    await client.incr(key)


async def _pool(address: Address, key: str) -> Check:
    """Twenty callers share four connections, and every one is served."""
    pool = redis.BlockingConnectionPool(host=address.host, port=address.port, max_connections=4, timeout=2)
    async with redis.Redis(connection_pool=pool) as client:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(_count(client, key))
        served = int(await client.get(key) or 0)
        await client.delete(key)
    await pool.aclose()
    return holds(
        "redis", "pool", passed=served == 20, measured=f"{served} of 20 callers served", wanted="20 by 4 connections"
    )
