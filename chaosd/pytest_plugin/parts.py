"""Kafka and PostgreSQL for tests that are not asynchronous: topics and a schema of the test's own, gone after it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from chaosd.pytest_plugin.bench import Bench
from chaosd.stack.handle import Endpoints
from chaosd.stack.parts.toxiproxy.client import ProxyState, Toxiproxy
from chaosd.testbed import topics as kafka_topics
from chaosd.testbed.record import Topic

__tracebackhide__ = True  # pytest leaves frames of this module out of its tracebacks
_READ_S = 15.0
_CALL_S = 30.0


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was read: bytes as they lay in the topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


class ChaosKafka:
    """Kafka through its proxy. `bootstrap` is for clients of one's own; topics that `topic` made end with the test."""

    def __init__(self, bench: Bench, endpoints: Endpoints) -> None:
        self._bench = bench
        self._direct = str(endpoints.direct.kafka)
        self.bootstrap = str(endpoints.proxied.kafka)
        self._made: list[str] = []

    def topic(self, name: str = "test", *, partitions: int = 1) -> str:
        """Make a topic of the test's own; its name begins with `name`."""
        made = Topic(f"{name}-{secrets.token_hex(4)}", "input", partitions)
        self._bench.call(kafka_topics.create(self._direct, (made,)))
        self._made.append(made.name)
        return made.name

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> tuple[int, int]:
        """Send one record and wait until all replicas have it; its partition and offset."""
        return self._bench.call(self._send(topic, value, key, headers, partition))

    def read(self, topic: str, count: int, *, within_s: float = _READ_S) -> list[Record]:
        """The first `count` records of a topic, partition by partition in order of offsets.

        Raises AssertionError when there are not so many within the time (which --chaos-timeout-scale scales).
        """
        return self._bench.call(self._read(topic, count, within_s * self._bench.scale))

    def close(self) -> None:
        """Remove the topics."""
        if self._made:
            self._bench.call(kafka_topics.delete(self._direct, self._made))

    async def _send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        number: int | None,
    ) -> tuple[int, int]:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True)
        async with asyncio.timeout(_CALL_S * self._bench.scale), producer:
            done = await producer.send_and_wait(topic, value, key=key, headers=list(headers), partition=number)
            return int(done.partition), int(done.offset)

    async def _read(self, topic: str, count: int, within_s: float) -> list[Record]:
        found: list[Record] = []
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, fetch_max_wait_ms=50)
        try:
            async with asyncio.timeout(within_s), consumer:
                consumer.assign([TopicPartition(topic, number) for number in await self._partitions(topic)])
                await consumer.seek_to_beginning()
                while len(found) < count:
                    batches = await consumer.getmany(timeout_ms=100)
                    found += [_record(one) for batch in batches.values() for one in batch]
        except TimeoutError:
            raise AssertionError(f"{len(found)} of {count} records of {topic} within {within_s:g} s") from None
        return sorted(found, key=lambda one: (one.partition, one.offset))

    async def _partitions(self, topic: str) -> list[int]:
        async with kafka_topics.admin(self._direct) as client:
            told = await client.describe_topics([topic])
        return sorted(int(one["partition"]) for one in told[0]["partitions"])


def _record(one: Any) -> Record:
    return Record(one.partition, one.offset, one.key, one.value, tuple(one.headers), one.timestamp)


class ChaosPostgres:
    """PostgreSQL through its proxy, in a schema of the test's own: `dsn` for clients of one's own leads there too."""

    def __init__(self, bench: Bench, endpoints: Endpoints) -> None:
        self._bench = bench
        self.schema = f"test_{secrets.token_hex(4)}"
        plain = endpoints.proxied.postgres.dsn
        self.dsn = f"{plain}?options=-csearch_path%3D{self.schema}"
        self._direct = endpoints.direct.postgres.dsn
        self._role = endpoints.proxied.postgres.user
        self._bench.call(self._ask(self._direct, f'CREATE SCHEMA {self.schema} AUTHORIZATION "{self._role}"', ()))

    def fetch(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        """Carry out one statement on a connection of its own; its rows."""
        return self._bench.call(self._ask(self.dsn, sql, arguments))

    def execute(self, sql: str, *arguments: Any) -> None:
        """Carry out one statement that has no rows to give."""
        self.fetch(sql, *arguments)

    def close(self) -> None:
        """Remove the schema with all that is in it."""
        self._bench.call(self._ask(self._direct, f"DROP SCHEMA IF EXISTS {self.schema} CASCADE", ()))

    async def _ask(self, dsn: str, sql: str, arguments: Sequence[Any]) -> list[dict[str, Any]]:
        async with asyncio.timeout(_CALL_S * self._bench.scale):
            connection = await asyncpg.connect(dsn)
            try:
                return [dict(row) for row in await connection.fetch(sql, *arguments)]
            finally:
                await connection.close()


async def restore(proxies: Toxiproxy, before: Mapping[str, ProxyState]) -> None:
    """Bring the proxies into the state they were in: toxics that were added go, those that were closed are opened."""
    for name, now in (await proxies.list()).items():
        if name not in before:
            await proxies.delete_proxy(name)
            continue
        for toxic in {one.name for one in now.toxics} - {one.name for one in before[name].toxics}:
            await proxies.remove_toxic(name, toxic)
        if now.enabled != before[name].enabled:
            await proxies.set_enabled(name, before[name].enabled)
