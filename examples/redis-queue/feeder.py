"""Moves orders from Kafka into a Redis list; commits what is in the list."""

from __future__ import annotations

import asyncio
import os

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError


async def work(consumer: AIOKafkaConsumer, redis: Redis) -> None:
    """Batch after batch, until something fails."""
    while True:
        found = await consumer.getmany(timeout_ms=100, max_records=200)
        records = [record for batch in found.values() for record in batch]
        if records:
            await redis.lpush("orders", *(record.value for record in records))
            await consumer.commit()


async def main() -> None:
    """Work; begin anew, from what is committed, after an error."""
    while True:
        consumer = AIOKafkaConsumer(
            "orders",
            bootstrap_servers=os.environ["KAFKA"],
            group_id="feeder",
            group_instance_id="feeder-0",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
        )
        redis = Redis.from_url(os.environ["REDIS"], socket_timeout=2, socket_connect_timeout=2)
        try:
            await consumer.start()
            await work(consumer, redis)
        except (KafkaError, RedisError, OSError) as error:
            print(f"begins anew after {error!r}", flush=True)
        finally:
            await consumer.stop()
            await redis.aclose()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
