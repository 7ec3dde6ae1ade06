"""Tests on real Redis, Kafka and PostgreSQL. They come up when the first test asks, and are gone after the last."""

import json
import time

import pytest


def test_a_counter_in_redis_whatever_the_client_decodes(chaos_redis):
    chaos_redis.delete("orders")
    chaos_redis.incr("orders")
    assert int(chaos_redis.get("orders")) == 1


def test_an_event_comes_back_from_kafka_as_it_went(chaos_kafka, chaos_envelopes):
    topic = chaos_kafka.topic("orders")
    sent = chaos_envelopes.wire(chaos_envelopes.tick("ACME", price="101.50"))
    chaos_kafka.send(topic, sent, key=b"ACME")
    [record] = chaos_kafka.read(topic, 1)
    assert json.loads(record.value)["data"]["price"] == "101.50"


def test_a_failed_transaction_leaves_nothing(chaos_postgres):
    chaos_postgres.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    with pytest.raises(Exception, match="duplicate key"):
        chaos_postgres.execute("INSERT INTO orders VALUES (1), (1)")
    assert chaos_postgres.fetch("SELECT count(*) AS n FROM orders") == [{"n": 0}]


def test_redis_is_late_in_the_block_and_not_after_it(chaos_fault, chaos_testbed):
    with chaos_testbed.redis(decode=True) as client:
        client.ping()
        with chaos_fault.latency("redis", latency_ms=200):
            began = time.monotonic()
            client.ping()
            assert time.monotonic() - began >= 0.2
        client.ping()
