"""The reference pipeline on the real stack: one output for each tick, whatever comes twice or dies."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import uuid4

import asyncpg
import pytest
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from pipeline_bench import PARTITIONS, PipelineBench, running, tick

from chaosd.envelope import wire
from chaosd.process import spawn
from chaosd.target.reference.app import Build, assemble
from chaosd.target.reference.noise import Noise
from chaosd.target.reference.settings import Settings


@pytest.fixture(scope="module")
async def bench(stack, tmp_path_factory) -> AsyncIterator[PipelineBench]:
    async with running(stack, tmp_path_factory.mktemp("pipeline")) as bench:
        yield bench


async def position(bench: PipelineBench, symbol: str) -> tuple[Decimal, Decimal, int] | None:
    connection = await asyncpg.connect(bench.stack.endpoints.direct.postgres.dsn, timeout=5)
    try:
        row = await connection.fetchrow("SELECT volume, notional, ticks FROM positions WHERE symbol = $1", symbol)
        return tuple(row) if row else None
    finally:
        await connection.close()


async def end(bench: PipelineBench) -> None:
    spawn.send_signal(bench.handle, signal.SIGTERM)
    assert await asyncio.to_thread(spawn.wait_gone, bench.handle, 6.0), "waited 6 s for the pipeline to end"


async def test_each_tick_gives_one_signal_with_its_own_figures(bench):
    given = [tick("ACME", "101.50", 7), tick("NOVA", "0.10", 3), tick("ACME", "99.990", 2)]
    await bench.send(given)
    await bench.answered(given)
    for one, (price, notional, signal_type) in zip(
        given, [("101.50", "710.50", "SELL"), ("0.10", "0.30", "BUY"), ("99.990", "199.980", "HOLD")], strict=True
    ):
        [record] = bench.outputs[one.id]
        source, answer = json.loads(one.value), json.loads(record.value)
        assert record.key == one.key
        assert answer["type"] == "validated_signal"
        assert answer["data"] == {
            "symbol": one.key.decode(),
            "price": price,
            "volume": source["data"]["volume"],
            "exchange_ts": "2026-01-02T03:04:05.678901+05:30",
            "signal": signal_type,
            "notional": notional,
        }
        assert (answer["correlation_id"], answer["trace_id"]) == (str(one.id), source["trace_id"])
        assert (answer["causation_id"], answer["parent_trace_id"]) == (str(one.id), str(one.id))
        assert (answer["broker"], answer["source"]) == ("zerodha", "reference")


async def test_a_tick_sent_twice_is_answered_and_counted_once(bench):
    symbol = f"TWICE-{uuid4().hex[:6]}"
    one = tick(symbol, "10.00", 5)
    await bench.send([one, one])
    await bench.answered([one])
    last = tick(symbol)
    await bench.send([one, last])  # same key, same partition: once `last` is answered the repetition is behind us
    await bench.answered([last])
    assert len(bench.outputs[one.id]) == 1
    assert await position(bench, symbol) == (Decimal(12), Decimal("760.50"), 2)


async def test_order_within_a_key_is_kept(bench):
    given = [tick(f"ORDER-{number % 5}", volume=number) for number in range(400)]
    await bench.send(given)
    await bench.answered(given)
    for number in range(5):
        mine = [one.id for one in given if one.key == f"ORDER-{number}".encode()]
        records = sorted((bench.outputs[one][0] for one in mine), key=lambda record: record.offset)
        assert len({record.partition for record in records}) == 1
        assert [wire.decode(record.value).correlation_id for record in records] == mine


async def test_offsets_are_committed_up_to_the_end_of_the_input(bench):
    given = [tick(f"COMMIT-{number}") for number in range(20)]
    await bench.send(given)
    await bench.answered(given)
    client = AIOKafkaConsumer(bootstrap_servers=bench.direct, group_id=bench.group, enable_auto_commit=False)
    await client.start()
    try:
        client.assign([TopicPartition(bench.topics["input"], number) for number in range(PARTITIONS)])
        ends = await client.end_offsets(client.assignment())
        async with asyncio.timeout(5):
            for partition, offset in ends.items():
                while (await client.committed(partition) or 0) < offset:
                    await asyncio.sleep(0.02)
    finally:
        await client.stop()


async def test_a_killed_pipeline_comes_back_at_once_and_loses_nothing(bench):
    given = [tick(f"KILL-{number % 9}") for number in range(3000)]
    await bench.send(given[:1500])
    await bench.kill()
    bench.start()
    await bench.send(given[1500:])
    low_ns, ready_ns = await bench.ready()
    assert ready_ns > low_ns
    await bench.answered(given, within_s=15)
    assert sum(len(bench.outputs[one.id]) > 1 for one in given) <= 1000  # at most the batch in work at the kill


async def test_records_delivered_again_are_found_finished(bench):
    symbol = f"AGAIN-{uuid4().hex[:6]}"
    given = [tick(symbol) for _ in range(50)]
    await end(bench)
    await bench.send(given)
    settings = Settings.from_environment(bench.recipe.env)
    never_commits = assemble(settings, Build(), Noise(structlog.get_logger()))
    await never_commits.open()
    for _ in range(100):
        await never_commits.process((await never_commits.parts.source.poll()).records)
        if never_commits.parts.metrics.counts().get("signals") == len(given):
            break
    never_commits.parts.store.abort()
    await never_commits.parts.source.close()
    await never_commits.parts.outbox.close()
    await never_commits.parts.dedup.close()
    await bench.answered(given)
    before = await position(bench, symbol)
    bench.start()
    await bench.ready()
    fence = tick(symbol)
    await bench.send([fence])
    await bench.answered([fence])
    assert {len(bench.outputs[one.id]) for one in given} == {1}
    assert before == (Decimal(350), Decimal("35525.00"), 50)
    assert await position(bench, symbol) == (Decimal(357), Decimal("36235.50"), 51)


async def test_sigterm_ends_it_in_good_order(bench):
    await end(bench)
    last = json.loads(bench.log().splitlines()[-1])
    assert last["event"] == "stopped"
    assert last["counts"]["signals"] > 0
    bench.start()
    await bench.ready()
