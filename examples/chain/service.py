"""Two services and a topic between them: `pricing` turns orders into prices, `billing` turns prices into bills.

Each is a plain loop, at least once: it commits what it read after it wrote. BROKEN=1 lets `billing` commit first.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

BROKEN = os.environ.get("BROKEN") == "1"


def price(order: dict[str, str]) -> dict[str, str]:
    """The price of an order."""
    return {"order": order["id"], "customer": order["customer"], "price": order["amount"]}


def bill(price: dict[str, str]) -> dict[str, str]:
    """The bill for a price."""
    return {"bill": f"bill-{price['order']}", "customer": price["customer"], "total": price["price"]}


STEPS: dict[str, tuple[str, str, Callable[[dict[str, str]], dict[str, str]]]] = {
    "pricing": ("orders", "prices", price),
    "billing": ("prices", "bills", bill),
}


async def work(name: str, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
    """Batch after batch, until something fails."""
    _, target, step = STEPS[name]
    hasty = BROKEN and name == "billing"
    while True:
        found = await consumer.getmany(timeout_ms=100, max_records=500)
        records = [record for batch in found.values() for record in batch]
        if not records:
            continue
        if hasty:
            await consumer.commit()
            await asyncio.sleep(0.3)
        made = [(json.dumps(step(json.loads(record.value))).encode(), record.key) for record in records]
        for sent in [await producer.send(target, value, key) for value, key in made]:
            await sent
        if not hasty:
            await consumer.commit()


async def main(name: str) -> None:
    """Work; begin anew, from what is committed, after an error."""
    while True:
        consumer = AIOKafkaConsumer(
            STEPS[name][0],
            bootstrap_servers=os.environ["KAFKA"],
            group_id=name,
            group_instance_id=f"{name}-{os.environ['REPLICA']}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
        )
        producer = AIOKafkaProducer(
            bootstrap_servers=os.environ["KAFKA"], enable_idempotence=True, request_timeout_ms=5_000
        )
        try:
            await consumer.start()
            await producer.start()
            await work(name, consumer, producer)
        except KafkaError as error:
            print(f"begins anew after {error!r}", flush=True)
        finally:
            await consumer.stop()
            await producer.stop()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
