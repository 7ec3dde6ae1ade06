"""`TypeError: a bytes-like object is required, not 'str'`: the failure of production, on a real client in each mode.

What each of the pipeline's own uses of Redis gets back, and what code written for the other mode would do with it.
"""

from __future__ import annotations

import json
import secrets
from decimal import Decimal

import pytest
import redis.asyncio as redis
import structlog

from chaosd.target.reference.dedup import Dedup
from chaosd.target.reference.noise import Noise
from chaosd.target.reference.retry import Retry

MODES = {"bytes": (False, bytes), "text": (True, str)}


@pytest.fixture(params=MODES)
def mode(request) -> tuple[bool, type]:
    return MODES[request.param]


@pytest.fixture
async def client(stack, mode):
    place = stack.endpoints.proxied.redis
    async with redis.Redis(host=place.host, port=place.port, decode_responses=mode[0]) as connected:
        yield connected


@pytest.fixture
async def key(client):
    name = f"types:{secrets.token_hex(4)}"
    yield name
    await client.delete(name)


async def test_every_kind_of_reply_has_the_type_of_the_mode(client, key, mode):
    _, kind = mode
    await client.hset(key, mapping={"price": "101.50"})
    [(field, value)] = (await client.hgetall(key)).items()
    assert (type(field), type(value), type(await client.hget(key, "price"))) == (kind, kind, kind)
    assert [type(found) async for found in client.scan_iter(key)] == [kind]
    await client.delete(key)
    await client.rpush(key, "a", b"b")
    assert [type(one) for one in await client.lrange(key, 0, -1)] == [kind, kind]
    await client.delete(key)
    await client.zadd(key, {"a": 1.5})
    assert [(type(member), score) for member, score in await client.zrange(key, 0, -1, withscores=True)] == [
        (kind, 1.5)
    ]


async def test_what_is_no_text_has_the_same_type_in_both_modes(client, key):
    assert await client.incr(key) == 1
    assert await client.expire(key, 60) is True
    assert 0 < await client.ttl(key) <= 60
    assert await client.exists(key) == 1
    assert await client.get(f"{key}:absent") is None


async def test_the_type_error_of_production_comes_with_the_other_mode_only(client, key, mode):
    await client.set(key, "orders:ACME")

    def written_for_bytes(reply):
        return reply.split(b":")[1]

    def written_for_text(reply):
        return reply.split(":")[1]

    reply = await client.get(key)
    right, wrong = (written_for_text, written_for_bytes) if mode[1] is str else (written_for_bytes, written_for_text)
    assert right(reply) in ("ACME", b"ACME")
    with pytest.raises(TypeError):
        wrong(reply)


async def test_a_comparison_across_the_modes_is_silently_false(client, key, mode):
    await client.set(key, "BUY")
    reply = await client.get(key)
    assert (reply == "BUY") is (mode[1] is str)
    assert (reply == b"BUY") is (mode[1] is bytes)


@pytest.mark.parametrize("given", ["ACME", b"ACME"], ids=["str", "bytes"])
async def test_a_key_may_be_given_in_either_type_and_is_one_key(client, key, given):
    field = given
    await client.hset(key, field, "1")
    assert await client.hexists(key, "ACME")
    assert await client.hexists(key, b"ACME")
    assert await client.hlen(key) == 1


async def test_money_survives_as_text_and_not_as_a_float(client, key, mode):
    price = Decimal("99999999999999999.123456789012")
    await client.hset(key, mapping={"price": str(price)})
    reply = await client.hget(key, "price")
    assert Decimal(reply if mode[1] is str else reply.decode()) == price
    with pytest.raises(redis.DataError):
        await client.hset(key, mapping={"price": price})  # type: ignore[dict-item] # what careless code does


async def test_json_is_read_from_the_replies_of_both_modes(client, key):
    await client.set(key, json.dumps({"symbol": "ACME", "volume": 7}))
    assert json.loads(await client.get(key)) == {"symbol": "ACME", "volume": 7}


async def test_bytes_that_are_no_text_need_the_bytes_mode(client, key, mode):
    await client.set(key, b"\xff\xfe")
    if mode[1] is bytes:
        assert await client.get(key) == b"\xff\xfe"
        return
    with pytest.raises(UnicodeDecodeError):
        await client.get(key)


@pytest.mark.parametrize("query", ["", "?decode_responses=True"], ids=["bytes", "text"])
async def test_the_pipelines_marks_mean_the_same_in_both_modes(stack, query):
    group = f"types-{secrets.token_hex(4)}"
    dedup = Dedup(f"redis://{stack.endpoints.proxied.redis}{query}", group, Retry(Noise(structlog.get_logger())))
    await dedup.mark(["one"])
    assert await dedup.finished(["one", "two"]) == [True, False]
    await dedup.close()
