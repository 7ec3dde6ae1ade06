"""Redis as clients meet it: bytes or text, expiry, pools, and what a cut answer means."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from chaosd.stack.stack import Stack

EXISTING_CONNECTION_CUT = (redis.ConnectionError, redis.TimeoutError)


@pytest.fixture
def key() -> str:
    return f"test:{uuid.uuid4().hex}"


def connect(stack: Stack, **options: object) -> redis.Redis:
    place = stack.endpoints.proxied.redis
    return redis.Redis(host=place.host, port=place.port, retry=Retry(NoBackoff(), 0), socket_timeout=2, **options)


async def test_without_decoding_keys_and_values_are_bytes(stack, key):
    async with connect(stack, decode_responses=False) as client:
        await client.hset(key, mapping={"symbol": "ACME", "price": "101.50"})
        assert await client.hgetall(key) == {b"symbol": b"ACME", b"price": b"101.50"}
        assert [found async for found in client.scan_iter(key)] == [key.encode()]


async def test_with_decoding_keys_and_values_are_text(stack, key):
    async with connect(stack, decode_responses=True) as client:
        await client.hset(key, mapping={"symbol": "ACME", "price": "101.50"})
        assert await client.hgetall(key) == {"symbol": "ACME", "price": "101.50"}
        assert [found async for found in client.scan_iter(key)] == [key]


async def test_the_same_key_is_reached_as_text_and_as_bytes(stack, key):
    async with connect(stack, decode_responses=False) as client:
        await client.set(key, "1")
        assert await client.get(key.encode()) == b"1"


async def test_with_decoding_a_value_that_is_not_utf8_raises(stack, key):
    async with connect(stack, decode_responses=False) as client:
        await client.set(key, b"\xff\xfe")
    async with connect(stack, decode_responses=True) as client:
        with pytest.raises(UnicodeDecodeError):
            await client.get(key)
    async with connect(stack, decode_responses=False) as client:
        assert await client.get(key) == b"\xff\xfe"


async def test_a_key_with_a_time_to_live_goes_when_it_is_over(stack, key):
    async with connect(stack) as client:
        await client.set(key, b"1", px=150)
        assert 0 < await client.pttl(key) <= 150
        deadline = time.monotonic() + 3
        while await client.exists(key):
            assert time.monotonic() < deadline, "waited for the key to expire"
            await asyncio.sleep(0.02)
        assert await client.get(key) is None


async def test_a_key_without_a_time_to_live_says_so(stack, key):
    async with connect(stack) as client:
        await client.set(key, b"1")
        assert await client.ttl(key) == -1
        await client.delete(key)


async def test_a_full_pool_refuses_and_a_blocking_pool_waits(stack, key):
    place = stack.endpoints.proxied.redis
    full = redis.ConnectionPool(host=place.host, port=place.port, max_connections=1)
    held = await full.get_connection()
    with pytest.raises(redis.ConnectionError):
        await full.get_connection()
    await full.release(held)
    again = await full.get_connection()
    assert again is held
    await full.release(again)
    await full.aclose()

    waiting = redis.BlockingConnectionPool(host=place.host, port=place.port, max_connections=2, timeout=5)
    async with redis.Redis(connection_pool=waiting) as client, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(client.incr(key))
    async with connect(stack) as client:
        assert await client.get(key) == b"20"
    await waiting.aclose()


async def test_a_pool_recovers_after_its_connections_were_cut(stack, key):
    async with connect(stack) as client:
        await client.set(key, b"before")
        await stack.toxiproxy.set_enabled("redis", enabled=False)
        try:
            with pytest.raises(EXISTING_CONNECTION_CUT):
                await client.get(key)
        finally:
            await stack.toxiproxy.set_enabled("redis", enabled=True)
        deadline = time.monotonic() + 3
        while True:
            try:
                assert await client.get(key) == b"before"
                break
            except EXISTING_CONNECTION_CUT:
                assert time.monotonic() < deadline, "waited for the pool to reconnect"
                await asyncio.sleep(0.02)


async def test_a_cut_answer_leaves_the_write_done(stack, key):
    """The server did the work, the client never learns it: the error is indeterminate, and SET NX again says None."""
    async with connect(stack) as client:
        await client.ping()
        await stack.toxiproxy.add_toxic("redis", "test-cut", "limit_data", "downstream", {"bytes": 0})
        try:
            with pytest.raises(EXISTING_CONNECTION_CUT):
                await client.set(key, b"owner", nx=True)
        finally:
            await stack.toxiproxy.remove_toxic("redis", "test-cut")
        await client.connection_pool.disconnect()
        assert await client.set(key, b"owner", nx=True) is None
        assert await client.get(key) == b"owner"
