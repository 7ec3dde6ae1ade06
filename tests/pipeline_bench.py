"""A reference pipeline on the real stack, fed and read by plain Kafka clients, for tests."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from chaosd.envelope import wire
from chaosd.envelope.kinds import EventType
from chaosd.process import spawn
from chaosd.stack.stack import Stack
from chaosd.target import launch
from chaosd.target.progress import open_admin
from chaosd.target.reference.app import assemble
from chaosd.target.reference.noise import Noise
from chaosd.target.reference.pipeline import Pipeline
from chaosd.target.reference.settings import Settings
from chaosd.testbed import topics
from chaosd.testbed.record import Topic

PARTITIONS = 4


@dataclass(frozen=True)
class Given:
    """One record to send."""

    id: UUID
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def tick(
    symbol: str = "ACME", price: str = "101.50", volume: int = 7, changes: dict[str, object] | None = None
) -> Given:
    """A good tick, or a bad one by `changes` of its data."""
    given = uuid4()
    data = {"symbol": symbol, "price": price, "volume": volume, "exchange_ts": "2026-01-02T03:04:05.678901+05:30"}
    envelope = wire.WireEnvelope(
        id=given,
        correlation_id=given,
        causation_id=None,
        trace_id=uuid4(),
        parent_trace_id=None,
        broker="zerodha",
        type=EventType.MARKET_TICK,
        ts=datetime.now(UTC),
        key=symbol,
        source="test",
        version=1,
        data={**data, **(changes or {})},
    )
    return Given(given, symbol.encode(), wire.encode(envelope), (("origin", b"test"),))


class PipelineBench:
    """Topics and a group of its own, the target's process, and clients on the DIRECT listener."""

    def __init__(self, stack: Stack, folder: Path, target: str) -> None:
        tag = secrets.token_hex(3)
        self.stack = stack
        self.direct = str(stack.endpoints.direct.kafka)
        self.topics = {role: f"{role}-{tag}" for role in ("input", "output", "dlq")}
        self.group = f"{target}-{tag}"
        self.recipe = launch.recipe(
            target,
            stack.endpoints,
            self.topics,
            group=self.group,
            instance=f"{self.group}-0",
            log=folder / f"{self.group}.log",
        )
        self.handle: spawn.Handle | None = None
        self.outputs: dict[UUID, list[ConsumerRecord]] = {}  # by correlation id
        self.letters: list[ConsumerRecord] = []
        self._admin: AIOKafkaAdminClient | None = None

    async def open(self) -> None:
        counts = {"input": PARTITIONS, "output": PARTITIONS, "dlq": 1}
        await topics.create(self.direct, [Topic(name, role, counts[role]) for role, name in self.topics.items()])
        self._producer = AIOKafkaProducer(bootstrap_servers=self.direct, acks="all", enable_idempotence=True)
        await self._producer.start()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self.direct, fetch_max_wait_ms=50, retry_backoff_ms=20)
        await self._consumer.start()
        read = [TopicPartition(self.topics["output"], number) for number in range(PARTITIONS)]
        self._consumer.assign([*read, TopicPartition(self.topics["dlq"], 0)])
        await self._consumer.seek_to_beginning()
        self.start()
        await self.ready()

    async def close(self) -> None:
        if self.handle is not None:
            await asyncio.to_thread(spawn.end, self.handle, 4.0)
        if self._admin is not None:
            await self._admin.close()
        await self._consumer.stop()
        await self._producer.stop()

    def start(self) -> None:
        self.handle = spawn.start(self.recipe, self.stack.record.marker)

    async def ready(self) -> tuple[int, int]:
        assert self.handle is not None
        return await launch.wait_ready(self.handle, self.recipe, self.direct, self.group)

    async def kill(self) -> None:
        assert self.handle is not None
        spawn.send_signal(self.handle, signal.SIGKILL)
        assert await asyncio.to_thread(spawn.wait_gone, self.handle, 5.0)

    async def send(self, records: Iterable[Given], partition: int | None = None) -> None:
        """Send and wait for every acknowledgement."""
        pending = [
            await self._producer.send(
                self.topics["input"], given.value, key=given.key, headers=list(given.headers), partition=partition
            )
            for given in records
        ]
        for delivery in pending:
            await delivery

    async def collect(self, until: Callable[[], bool], within_s: float, waits_for: str) -> float:
        """Read output and DLQ until the condition holds; seconds it took. Fails after `within_s`."""
        began = time.monotonic()
        while not until():
            left_s = within_s - (time.monotonic() - began)
            assert left_s > 0, f"waited {within_s} s for {waits_for}; the log ends:\n{self.log()[-1500:]}"
            batches = await self._consumer.getmany(timeout_ms=min(100, int(left_s * 1000) + 1))
            for record in (record for batch in batches.values() for record in batch):
                if record.topic == self.topics["dlq"]:
                    self.letters.append(record)
                else:
                    self.outputs.setdefault(wire.decode(record.value).correlation_id, []).append(record)
        return time.monotonic() - began

    async def answered(self, given: Sequence[Given], within_s: float = 10.0) -> float:
        """Wait until each tick has an output."""
        return await self.collect(
            lambda: all(one.id in self.outputs for one in given), within_s, f"{len(given)} outputs"
        )

    async def committed(self) -> int:
        """How many records of the input the group has committed past."""
        if self._admin is None:
            self._admin = await open_admin(self.direct)
        offsets = await self._admin.list_consumer_group_offsets(self.group)
        return sum(found.offset for at, found in offsets.items() if at.topic == self.topics["input"])

    def log(self) -> str:
        return Path(self.recipe.log).read_text(encoding="utf-8", errors="replace")


@asynccontextmanager
async def running(stack: Stack, folder: Path, target: str = "reference") -> AsyncIterator[PipelineBench]:
    """A target that is ready, with topics and a group of its own."""
    bench = PipelineBench(stack, folder, target)
    await bench.open()
    try:
        yield bench
    finally:
        await bench.close()


class Noted(Noise):
    """Remembers which steps failed, and says nothing."""

    def __init__(self) -> None:
        super().__init__(structlog.get_logger())
        self.steps: set[str] = set()

    def failed(self, step: str, error: BaseException) -> None:
        self.steps.add(step)


class InsideBench(PipelineBench):
    """A mutant in the test's own loop instead of a process: the same pipeline on the same parts, without a start."""

    def __init__(self, stack: Stack, folder: Path, target: str) -> None:
        super().__init__(stack, folder, target)
        self.noise = Noted()
        self._build = importlib.import_module(launch.checked(target).module).BUILD
        self._work: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.pipeline: Pipeline | None = None

    def start(self) -> None:
        self.pipeline = assemble(Settings.from_environment(self.recipe.env), self._build, self.noise)

    async def ready(self) -> tuple[int, int]:
        await self.pipeline.open()
        self._stop = asyncio.Event()
        self._work = asyncio.create_task(self.pipeline.run(self._stop), name=self.group)
        return 0, 0

    async def kill(self) -> None:
        """End it in the middle of whatever it does. Only then are its connections closed."""
        parts = self.pipeline.parts
        parts.store.abort()
        self._stop.set()  # aiokafka may swallow a cancellation: then it ends before its next batch
        self._work.cancel()
        done, _ = await asyncio.wait({self._work}, timeout=10)
        assert done, f"{self.group} does not end"
        parts.store.abort()
        await parts.source.close()
        await parts.outbox.close()
        await parts.dedup.close()

    async def again(self) -> None:
        """Begin anew, as the same member of the same group."""
        self.start()
        await self.ready()

    async def close(self) -> None:
        await self.kill()
        await super().close()

    def log(self) -> str:
        return f"failed: {', '.join(sorted(self.noise.steps))}"


@asynccontextmanager
async def inside(stack: Stack, folder: Path, target: str) -> AsyncIterator[InsideBench]:
    """A mutant at work in this loop, with topics and a group of its own."""
    bench = InsideBench(stack, folder, target)
    await bench.open()
    try:
        yield bench
    finally:
        await bench.close()
