"""Reads orders and refunds with one group: writes a bill for each order, a credit for each refund. At least once.

What cannot be read goes to the dead letter topic with the headers of Kafka Connect. Offsets are committed after
everything of a batch is written. BROKEN=1 commits refunds before: a death loses those that it had in work.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

BROKEN = os.environ.get("BROKEN") == "1"
TOPICS = ("orders", "refunds")


def result(record: ConsumerRecord) -> tuple[str, bytes]:
    """Topic and value of what a record gives. Raises ValueError for what cannot be read."""
    told = json.loads(record.value.decode())
    if record.topic == "orders":
        return "bills", _json({"of": told["id"], "customer": told["customer"], "total": told["amount"]})
    back = {"of": told["refund"], "customer": told["customer"], "back": told["amount"], "items": told["items"]}
    return "credits", _json(back)


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode()


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
            topic, value = result(record)
        except ValueError as error:
            sent.append(await producer.send("accounts.dlq", record.value, record.key, headers=dead(record, error)))
        else:
            sent.append(await producer.send(topic, value, record.key))
    for one in sent:
        await one


async def work(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
    """Batch after batch, until something fails."""
    while True:
        found: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(timeout_ms=100, max_records=500)
        if not found:
            continue
        if BROKEN:
            ends = {at: records[-1].offset + 1 for at, records in found.items() if at.topic == "refunds"}
            if ends:
                await consumer.commit(ends)
            await asyncio.sleep(0.3)
        await handle(producer, [record for records in found.values() for record in records])
        await consumer.commit()


async def main() -> None:
    """Work; begin anew, from what is committed, after an error."""
    while True:
        consumer = AIOKafkaConsumer(
            *TOPICS,
            bootstrap_servers=os.environ["KAFKA"],
            group_id="accounts",
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
