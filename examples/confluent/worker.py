"""Reads orders, writes one bill for each, with confluent-kafka: `pip install confluent-kafka`.

At least once: offsets are stored after the results are written. BROKEN=1 lets the client commit by itself what it has
handed out, which is its default: a death loses what was under work.
"""

from __future__ import annotations

import json
import os
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

BROKEN = os.environ.get("BROKEN") == "1"
COMMON = {"bootstrap.servers": os.environ["KAFKA"], "reconnect.backoff.max.ms": 500}


def bill(raw: bytes) -> bytes:
    """The bill of an order."""
    order = json.loads(raw)
    return json.dumps({"order": order["id"], "customer": order["customer"], "total": order["amount"]}).encode()


def main() -> None:
    """Work until somebody ends it."""
    consumer = Consumer(
        {
            **COMMON,
            "group.id": "billing",
            "group.instance.id": "billing-0",
            "session.timeout.ms": 6_000,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": BROKEN,
            "auto.commit.interval.ms": 50,
        }
    )
    producer = Producer({**COMMON, "enable.idempotence": True, "linger.ms": 5})
    failed: list[KafkaError] = []
    consumer.subscribe(["orders"])
    while True:
        records = [one for one in consumer.consume(500, 0.1) if one.error() is None]
        if not records:
            continue
        if BROKEN:
            time.sleep(0.5)
        for record in records:
            producer.produce(
                "bills", bill(record.value()), record.key(), on_delivery=lambda error, _: error and failed.append(error)
            )
        producer.flush()
        if failed:
            raise KafkaException(failed[0])
        if not BROKEN:
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
