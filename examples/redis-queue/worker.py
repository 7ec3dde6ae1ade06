"""Takes orders from a Redis list and writes a bill for each.

An order under work lies in a list of its own until its bill is written, so a death loses nothing; after one, what is
left there comes first. BROKEN=1 pops orders instead, as RPOP does: those under work die with the worker.
"""

from __future__ import annotations

import asyncio
import json
import os

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

BROKEN = os.environ.get("BROKEN") == "1"
QUEUE, WORK = "orders", "orders.work"
BATCH = 100


def bill(raw: bytes) -> tuple[bytes, bytes]:
    """Key and value of an order's bill."""
    order = json.loads(raw)
    value = {"order": order["id"], "customer": order["customer"], "total": order["amount"]}
    return order["customer"].encode(), json.dumps(value).encode()


async def take(redis: Redis) -> list[bytes]:
    """The oldest orders, at most BATCH."""
    if BROKEN:
        popped = await redis.rpop(QUEUE, BATCH) or []
        await asyncio.sleep(0.1)
        return popped
    async with redis.pipeline(transaction=True) as pipe:
        for _ in range(BATCH):
            pipe.lmove(QUEUE, WORK, "RIGHT", "LEFT")
        return [raw for raw in await pipe.execute() if raw is not None]


async def work(redis: Redis, producer: AIOKafkaProducer) -> None:
    """Batch after batch, until something fails. What an earlier life left comes first."""
    left = await redis.lrange(WORK, 0, -1)
    batch = list(reversed(left))
    while True:
        if batch:
            made = [bill(raw) for raw in batch]
            for sent in [await producer.send("bills", value, key) for key, value in made]:
                await sent
            await redis.delete(WORK)
        else:
            await asyncio.sleep(0.02)
        batch = await take(redis)


async def main() -> None:
    """Work; begin anew after an error."""
    while True:
        redis = Redis.from_url(os.environ["REDIS"], socket_timeout=2, socket_connect_timeout=2)
        producer = AIOKafkaProducer(
            bootstrap_servers=os.environ["KAFKA"], enable_idempotence=True, request_timeout_ms=5_000, linger_ms=20
        )
        try:
            await producer.start()
            print("at work", flush=True)
            await work(redis, producer)
        except (KafkaError, RedisError, OSError) as error:
            print(f"begins anew after {error!r}", flush=True)
        finally:
            await producer.stop()
            await redis.aclose()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
