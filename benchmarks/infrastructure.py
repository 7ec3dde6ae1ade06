"""The real parts as a client meets them, against the budgets of docs/test-layers.md. Figures are shown, nothing fails.

python benchmarks/infrastructure.py [--rounds N] [--json FILE] [--markdown FILE]

A busy machine is slow in everything, so the same run calibrates it: a bare echo over loopback (what a round trip costs
here) and hashing (what a processor does here). Figures are shown beside the echo; compare those, not milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

import asyncpg
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from pipeline_bench import Given, PipelineBench, running, tick

from chaosd.envelope import wire
from chaosd.envelope.model import EventEnvelope
from chaosd.envelope.poison import spoil
from chaosd.stack.providers.embedded import EmbeddedProvider
from chaosd.stack.stack import Stack

PARTS = ("redis", "postgres", "toxiproxy", "kafka")
Step = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Figure:
    """`values` in `unit`; `budget` is a limit of their mean, None for none. `echo`: how many bare echoes that is."""

    name: str
    values: list[float]
    unit: str
    budget: float | None = None
    echo: float | None = None

    @property
    def mean(self) -> float:
        """What a budget is held against."""
        return statistics.fmean(self.values)

    @property
    def word(self) -> str:
        """Whether the budget is kept."""
        return "" if self.budget is None else "pass" if self.mean < self.budget else "MISS"


class Sheet:
    """The figures, in order. `echo_ms` is known after the calibration, `share` is the least part of a processor that
    this process was given when it asked for a whole one.
    """

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.echo_ms = 0.0
        self.share = 1.0

    def add(self, name: str, values: list[float], unit: str, budget: float | None = None) -> None:
        """Keep a figure, and print it."""
        echo = statistics.median(values) / self.echo_ms if unit == "ms" and self.echo_ms else None
        self.figures.append(Figure(name, values, unit, budget, echo))
        print(line(self.figures[-1]), flush=True)


def line(one: Figure) -> str:
    """One figure for people."""
    values = sorted(one.values)
    late = values[min(len(values) - 1, len(values) * 99 // 100)]
    budget = f"budget {one.budget:g}: {one.word}" if one.budget is not None else ""
    echo = f"{one.echo:8.1f}" if one.echo is not None else f"{'':8}"
    middle = statistics.median(values)
    return f"{one.name:<54} {one.mean:10.3f} {middle:10.3f} {late:10.3f} {one.unit:<6} {echo}  {budget}".rstrip()


HEAD = f"{'':<54} {'mean':>10} {'median':>10} {'p99':>10} {'':<6} {'× echo':>8}"


async def timed(one: Step, rounds: int, warm: int = 5) -> list[float]:
    """Milliseconds of each round; the first few, which open connections and fill caches, are not counted."""
    took = []
    for number in range(-warm, rounds):
        began = time.perf_counter()
        await one(number + warm)
        if number >= 0:
            took.append(1000 * (time.perf_counter() - began))
    return took


async def in_turns(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """The same of several steps, a slice of each in turn, so that a busy moment of the machine hits all of them."""
    every: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(10):
        for name, one in steps.items():
            every[name] += await timed(one, max(rounds // 10, 1))
    return every


def hash_for(sheet: Sheet) -> float:
    """MB/s of a processor that is all ours; notes how much of one that was."""
    block, wall, began = bytes(1_000_000), time.perf_counter(), time.process_time()
    for _ in range(100):
        hashlib.sha256(block).digest()
    took = time.process_time() - began
    sheet.share = min(sheet.share, took / (time.perf_counter() - wall))
    return 100 / took


async def calibrate(sheet: Sheet, rounds: int) -> None:
    """What a round trip and a second of processor are worth on this machine, now."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

    async def echo(_: int) -> None:
        writer.write(b"ping")
        await reader.readexactly(4)

    took = await timed(echo, rounds)
    writer.close()
    server.close()
    sheet.add("calibration: echo over loopback", took, "ms")
    sheet.echo_ms = statistics.median(took)
    sheet.add("calibration: SHA-256", [hash_for(sheet)], "MB/s")


async def redis_modes(sheet: Sheet, stack: Stack, rounds: int) -> None:
    """The same work with replies as bytes and as text."""
    place, key = stack.endpoints.proxied.redis, f"speed:{secrets.token_hex(4)}"
    steps: dict[str, Step] = {}
    async with (
        redis.Redis(host=place.host, port=place.port, decode_responses=False) as raw,
        redis.Redis(host=place.host, port=place.port, decode_responses=True) as text,
    ):
        await raw.hset(key, mapping={f"field-{n}": f"{n}.50" for n in range(50)})
        for mode, client in (("bytes", raw), ("text", text)):
            steps[f"SET, {mode}"] = lambda n, client=client: client.set(f"{key}:one", n)
            steps[f"GET, {mode}"] = lambda _, client=client: client.get(f"{key}:one")
            steps[f"HGETALL of 50 fields, {mode}"] = lambda _, client=client: client.hgetall(key)
        every = await in_turns(steps, rounds)
        await raw.delete(key, f"{key}:one")
    for name, took in every.items():
        sheet.add(f"Redis: {name}", took, "ms", budget=5)
    slow, quick = (statistics.median(every[f"HGETALL of 50 fields, {mode}"]) for mode in ("text", "bytes"))
    sheet.add("Redis: text mode over bytes mode, HGETALL", [slow / quick], "×")


async def postgres(sheet: Sheet, stack: Stack, rounds: int) -> None:
    """A read, and a whole transaction with a write."""
    connection = await asyncpg.connect(stack.endpoints.proxied.postgres.dsn, timeout=10)
    table = f"speed_{secrets.token_hex(4)}"
    await connection.execute(f"CREATE TABLE {table} (id int, price numeric)")

    async def write(number: int) -> None:
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", number, Decimal("101.50"))

    async def read(_: int) -> None:
        await connection.fetchval(f"SELECT max(price) FROM {table}")

    sheet.add("PostgreSQL: one query", await timed(read, rounds), "ms", budget=20)
    sheet.add("PostgreSQL: BEGIN, INSERT, COMMIT", await timed(write, rounds), "ms")
    await connection.execute(f"DROP TABLE {table}")
    await connection.close()


async def kafka(sheet: Sheet, stack: Stack, rounds: int) -> None:
    """A record there and back, as bytes that are ready and as an envelope that is encoded, sent, read and decoded."""
    topic, bootstrap = f"speed-{secrets.token_hex(4)}", str(stack.endpoints.proxied.kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    ready = tick("SPEED").value
    model, fast = EventEnvelope.model_validate_json(ready), wire.decode(ready)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=50)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer, consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()

        async def bare(_: int) -> None:
            await producer.send(topic, ready)
            await consumer.getone()

        async def with_model(_: int) -> None:
            await producer.send(topic, model.model_dump_json().encode())
            EventEnvelope.model_validate_json((await consumer.getone()).value)

        async def with_wire(_: int) -> None:
            await producer.send(topic, wire.encode(fast))
            wire.decode((await consumer.getone()).value)

        steps = {"bytes": bare, "envelope (pydantic)": with_model, "envelope (msgspec)": with_wire}
        for name, took in (await in_turns(steps, rounds)).items():
            sheet.add(f"Kafka: {name} there and back", took, "ms", budget=10)
    for name, form in (
        ("pydantic", lambda: EventEnvelope.model_validate_json(model.model_dump_json())),
        ("msgspec", lambda: wire.decode(wire.encode(fast))),
    ):
        took = []
        for _ in range(20):
            began = time.process_time()
            for _ in range(500):
                form()
            took.append(1e6 * (time.process_time() - began) / 500)
        sheet.add(f"envelope → JSON → envelope, {name}", took, "µs")


async def pools(sheet: Sheet, stack: Stack, rounds: int) -> None:
    """Sixteen users of a pool: operations a second with one, four and sixteen connections."""
    place = stack.endpoints.proxied.redis
    for size in (1, 4, 16):
        pool = redis.BlockingConnectionPool(host=place.host, port=place.port, max_connections=size, timeout=30)
        async with redis.Redis(connection_pool=pool) as client:
            sheet.add(f"Redis pool of {size:2}, 16 users", [await _rate(client.ping, rounds)], "op/s")
        await pool.aclose()
        database = await asyncpg.create_pool(stack.endpoints.proxied.postgres.dsn, min_size=1, max_size=min(size, 8))

        async def ask(database: asyncpg.Pool = database) -> None:
            await database.fetchval("SELECT 1")

        sheet.add(f"PostgreSQL pool of {min(size, 8):2}, 16 users", [await _rate(ask, rounds)], "op/s")
        await database.close()


async def _rate(use: Callable[[], Awaitable[object]], rounds: int) -> float:
    numbers = iter(range(rounds * 4))

    async def worker() -> None:
        for _ in numbers:
            await use()

    await use()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(worker())
    return rounds * 4 / (time.perf_counter() - began)


async def dead_letters(sheet: Sheet, stack: Stack, folder: Path, rounds: int) -> None:
    """From the acknowledged input to what the reference pipeline makes of it, one at a time."""

    async def letter(bench: PipelineBench, number: int) -> None:
        good, known = tick("SPEED"), len(bench.letters)
        await bench.send([Given(good.id, good.key, spoil("wrong_type", good.value, number))])
        await bench.collect(lambda: len(bench.letters) > known, 20, "the letter")

    async def output(bench: PipelineBench) -> None:
        given = [tick("SPEED")]
        await bench.send(given)
        await bench.answered(given, 20)

    async with running(stack, folder) as bench:
        sheet.add("pipeline: tick → signal", await timed(lambda _: output(bench), rounds), "ms")
        sheet.add("pipeline: poison → SYSTEM_ERROR", await timed(lambda n: letter(bench, n), rounds), "ms")


async def restarts(sheet: Sheet, stack: Stack) -> None:
    """Each part stopped in order and killed, until it serves again in its own protocol; and a client's first answer."""
    for part in PARTS:
        for kill, name in ((False, "stop → serves"), (True, "SIGKILL → serves")):
            took = []
            for _ in range(3):
                gone_ns = await stack.stop_part(part, kill=kill)
                took.append(((await stack.start_part(part)).ready_ns - gone_ns) / 1e9)
            sheet.add(f"{part}: {name}", took, "s", budget=5)
    place = stack.endpoints.proxied.redis
    async with redis.Redis(host=place.host, port=place.port) as client:
        await client.ping()
        await stack.stop_part("redis", kill=True)
        started = await stack.start_part("redis")
        while True:
            try:
                await client.ping()
                break
            except (redis.ConnectionError, redis.TimeoutError):
                await asyncio.sleep(0.01)
        sheet.add("redis: serves → a client is back", [(time.monotonic_ns() - started.ready_ns) / 1e9], "s", budget=5)


async def measure(rounds: int) -> Sheet:
    """All of it, on one stack."""
    sheet, provider = Sheet(), EmbeddedProvider()
    folder = Path(tempfile.mkdtemp(prefix="chaosd-bench-"))
    print(HEAD)
    await calibrate(sheet, rounds * 5)
    began = time.monotonic()
    stack = await provider.up(folder, str(folder))
    try:
        sheet.add("stack: start → every part serves", [time.monotonic() - began], "s")
        usage = await stack.usage()
        sheet.add("stack: memory", [sum(one.pss_kb for one in usage.values()) / 1024], "MB", budget=200)
        await redis_modes(sheet, stack, rounds)
        await postgres(sheet, stack, rounds)
        await kafka(sheet, stack, rounds)
        await pools(sheet, stack, rounds)
        await dead_letters(sheet, stack, folder, min(rounds, 50))
        await restarts(sheet, stack)
        sheet.add("calibration again: SHA-256", [hash_for(sheet)], "MB/s")
    finally:
        await provider.down(stack)
        stack.close()
        shutil.rmtree(folder, ignore_errors=True)
    return sheet


def markdown(sheet: Sheet) -> str:
    """The figures as a table."""
    rows = []
    for one in sheet.figures:
        echo = "" if one.echo is None else f"{one.echo:.1f}"
        budget = "" if one.budget is None else f"{one.budget:g}"
        middle = statistics.median(one.values)
        rows.append(f"| {one.name} | {one.mean:.3f} | {middle:.3f} | {one.unit} | {echo} | {budget} | {one.word} |")
    head = ["| | mean | median | | × echo | budget | |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _busy(sheet: Sheet) -> str:
    return ": the machine is busy with something else, and a miss says little" if sheet.share < 0.8 else ""


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    sheet = asyncio.run(measure(options.rounds))
    judged = [one for one in sheet.figures if one.budget is not None]
    missed = [one.name for one in judged if one.word == "MISS"]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} budgets kept")
    if missed:
        print(f"missed: {', '.join(missed)}")
    print(f"this process was given {100 * sheet.share:.0f} % of the processor that it asked for{_busy(sheet)}")
    if options.json:
        told = [{**asdict(one), "mean": one.mean, "word": one.word} for one in sheet.figures]
        options.json.write_text(
            json.dumps({"echo_ms": sheet.echo_ms, "share": sheet.share, "figures": told}, indent=1), encoding="utf-8"
        )
    if options.markdown:
        options.markdown.write_text(markdown(sheet), encoding="utf-8")


if __name__ == "__main__":
    main()
