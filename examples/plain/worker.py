"""Reads orders, writes one bill for each: a plain aiokafka loop, at least once.

What cannot be read goes to the dead letter topic with the headers of Kafka Connect. Offsets are committed after
everything of a batch is written. BROKEN=1 turns that round, as `enable_auto_commit` does: a death loses the batch.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

BROKEN = os.environ.get("BROKEN") == "1"


def bill(record: ConsumerRecord) -> bytes:
    """The bill of an order. Raises ValueError for what is no order."""
    order = json.loads(record.value.decode())
    return json.dumps({"order": order["id"], "customer": order["customer"], "total": order["amount"]}).encode()


def dead(record: ConsumerRecord, error: ValueError) -> list[tuple[str, bytes]]:
    """The headers of a dead letter."""
    told = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "exception.class.name": type(error).__name__,
        "exception.message": str(error),
    }
    return [*record.headers, *((f"__connect.errors.{name}", str(value).encode()) for name, value in told.items())]


async def handle(producer: AIOKafkaProducer, records: Sequence[ConsumerRecord]) -> None:
    """Write the results of a batch; returns when the broker has them all."""
    sent = []
    for record in records:
        try:
            value = bill(record)
        except ValueError as error:
            sent.append(await producer.send("orders.dlq", record.value, record.key, headers=dead(record, error)))
        else:
            sent.append(await producer.send("bills", value, record.key))
    for one in sent:
        await one


async def work(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
    """Batch after batch, until something fails."""
    while True:
        found = await consumer.getmany(timeout_ms=100, max_records=500)
        records = [record for batch in found.values() for record in batch]
        if not records:
            continue
        if BROKEN:
            await consumer.commit()
            await asyncio.sleep(0.3)
        await handle(producer, records)
        if not BROKEN:
            await consumer.commit()


async def main() -> None:
    """Work; begin anew, from what is committed, after an error."""
    while True:
        consumer = AIOKafkaConsumer(
            "orders",
            bootstrap_servers=os.environ["KAFKA"],
            group_id="billing",
            group_instance_id=os.environ["INSTANCE"],
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
            await work(consumer, producer)
        except KafkaError as error:
            print(f"begins anew after {error!r}", flush=True)
        finally:
            await consumer.stop()
            await producer.stop()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
