"""Writes each order into a table and a bill for it: the rows first, then the bills, then the commit.

A row that is there already is left as it is, so an order that is handed out again does no harm. BROKEN=1 writes the
rows beside its work, "because the bills are urgent": a death loses them, and the bills look as if all were well.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

BROKEN = os.environ.get("BROKEN") == "1"
TABLE = "CREATE TABLE IF NOT EXISTS ledger (order_id text PRIMARY KEY, customer text NOT NULL, amount numeric(12, 2))"
ROW = "INSERT INTO ledger VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
LARGE = Decimal(500)


async def book(database: asyncpg.Connection, orders: Sequence[dict[str, Any]], delay_s: float = 0.0) -> None:
    """Write the rows of a batch."""
    await asyncio.sleep(delay_s)
    await database.executemany(ROW, [(one["id"], one["customer"], Decimal(one["amount"])) for one in orders])


async def send(producer: AIOKafkaProducer, records: Sequence[ConsumerRecord], orders: Sequence[dict[str, Any]]) -> None:
    """Write bills and audits; returns when the broker has them all."""
    sent = []
    for record, order in zip(records, orders, strict=True):
        value = {"order": order["id"], "customer": order["customer"], "total": order["amount"]}
        sent.append(await producer.send("bills", json.dumps(value).encode(), record.key))
        if Decimal(order["amount"]) > LARGE:
            audit = {"order": order["id"], "total": order["amount"]}
            sent.append(await producer.send("audits", json.dumps(audit).encode(), record.key))
    for one in sent:
        await one


async def work(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, database: asyncpg.Connection) -> None:
    """Batch after batch, until something fails."""
    booking: asyncio.Task[None] | None = None
    while True:
        found = await consumer.getmany(timeout_ms=100, max_records=500)
        records = [record for batch in found.values() for record in batch]
        if not records:
            continue
        orders = [json.loads(record.value) for record in records]
        if BROKEN:
            if booking is not None:
                await booking
            booking = asyncio.create_task(book(database, orders, 0.3))
        else:
            await book(database, orders)
        await send(producer, records, orders)
        await consumer.commit()


async def main() -> None:
    """Work; begin anew, from what is committed, after an error."""
    while True:
        consumer = AIOKafkaConsumer(
            "orders",
            bootstrap_servers=os.environ["KAFKA"],
            group_id="ledger",
            group_instance_id=os.environ["INSTANCE"],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
        )
        producer = AIOKafkaProducer(
            bootstrap_servers=os.environ["KAFKA"], enable_idempotence=True, request_timeout_ms=5_000
        )
        database = None
        try:
            database = await asyncpg.connect(os.environ["DATABASE"], timeout=2, command_timeout=2)
            await database.execute(TABLE)
            await consumer.start()
            await producer.start()
            await work(consumer, producer, database)
        except (KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            print(f"begins anew after {error!r}", flush=True)
        finally:
            await consumer.stop()
            await producer.stop()
            if database is not None:
                database.terminate()
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
