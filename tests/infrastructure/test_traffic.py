"""Generator, tap and reader together, on the real broker; the target is a small echo in the test itself or none."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chaosd.experiment.contract import Table
from chaosd.experiment.plan import Segment, expand
from chaosd.journal import history
from chaosd.journal.columns import Outcome, Role
from chaosd.journal.write import Facts, seal
from chaosd.kernel.clock import MS, SECOND, SystemClock
from chaosd.process import spawn
from chaosd.process.control import Child
from chaosd.stack.stack import Stack
from chaosd.target import launch
from chaosd.traffic import afterwards

CLOCK = SystemClock()
PARTITIONS = 2
STREAMS = 8


class Run:
    """What the conductor does, in small: facts, both instruments, a segment at a time."""

    def __init__(self, stack: Stack, run_dir: Path) -> None:
        self.stack, self.run_dir = stack, run_dir
        (run_dir / "logs").mkdir(parents=True)
        self.group = f"group-{uuid.uuid4().hex[:8]}"
        self.topics = [
            {"name": f"{role}-{uuid.uuid4().hex[:8]}", "role": role, "partitions": PARTITIONS}
            for role in ("input", "output", "dlq")
        ]
        self.facts = Facts(run_dir, "conductor", CLOCK)
        self.seed, self.run_tag, self.next = 7, 0xC0FFEE, 0
        self.children: dict[str, Child] = {}
        self.events: dict[str, list[dict[str, Any]]] = {"generator": [], "tap": []}
        self.index = itertools.count()
        self.news = asyncio.Event()

    async def begin(self) -> None:
        bootstrap = str(self.stack.endpoints.direct.kafka)
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        made = await admin.create_topics([NewTopic(t["name"], t["partitions"], 1) for t in self.topics])
        assert all(error[1] == 0 for error in made.topic_errors)
        await admin.close()
        base = CLOCK.wall_ns() // MS * MS
        config = {
            "run_dir": str(self.run_dir),
            "bootstrap": bootstrap,
            "run_tag": self.run_tag,
            "seed": self.seed,
            "base_wall_ns": base,
            "streams": STREAMS,
            "topics": self.topics,
            "inputs": [{"name": self.topics[0]["name"], "partitions": PARTITIONS, "group": self.group}],
            "delivery_timeout_s": 40,
        }
        self.facts.append(
            "run_started",
            durable=True,
            run_id="r",
            run_tag=self.run_tag,
            seed=self.seed,
            profile="quick",
            expect={},
            topics=self.topics,
            limit_ns=5 * SECOND,
            hold_ns=2 * SECOND,
            parts=[],
            processes=[],
            target={"name": "t", "fifo": True},
            base_wall_ns=base,
            streams=STREAMS,
        )
        for name in ("tap", "generator"):
            path = self.run_dir / "logs" / f"{name}.json"
            path.write_text(json.dumps(config))
            child = await Child.start(f"chaosd.traffic.{name}", [str(path)], stderr_log=path.with_suffix(".log"))
            self.children[name] = child

    async def follow(self, name: str) -> None:
        async for event in self.children[name].events():
            self.events[name].append(event)
            self.news.set()
        self.news.set()

    def last(self, name: str, kind: str) -> dict[str, Any]:
        return next((e for e in reversed(self.events[name]) if e["event"] == kind), {})

    async def until(self, what: str, told: Any, limit_s: float = 20) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while not told():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            logs = "".join(p.read_text() for p in (self.run_dir / "logs").glob("*.log"))
            last = {name: events[-2:] for name, events in self.events.items()}
            raise AssertionError(f"waited for {what}: {last}\n{logs[-3000:]}") from None

    async def segment(
        self, count: int, rate_hz: float, poison: tuple[tuple[str, float], ...] = (), duplicates: float = 0.0
    ) -> Segment:
        segment = Segment(
            next(self.index),
            "baseline",
            self.next,
            count,
            CLOCK.now_ns() + 200 * MS,
            round(SECOND / rate_hz),
            STREAMS,
            poison,
            duplicates,
        )
        self.next += count
        self.facts.append("segment", **asdict(segment))
        for child in (self.children["tap"], self.children["generator"]):
            await child.send({"cmd": "segment", **asdict(segment)})
        return segment

    async def stop_generator(self) -> None:
        await self.children["generator"].send({"cmd": "stop"})
        await self.until("the generator's end", lambda: self.last("generator", "stopped"), 60)

    async def fresh_read(self) -> dict[str, Any]:
        await self.children["tap"].send({"cmd": "fresh_read"})
        await self.until("the fresh read", lambda: self.last("tap", "fresh_read_done"), 60)
        done = self.last("tap", "fresh_read_done")
        self.facts.append("fresh_read", complete=done["complete"], ends=done["ends"], starts=done["starts"])
        return done

    async def end(self) -> history.RunHistory:
        await self.children["tap"].send({"cmd": "stop"})
        assert await self.children["generator"].close(10) is not None
        assert await self.children["tap"].close(10) == 0
        self.facts.append("run_ended", reason="complete")
        seal(self.run_dir, CLOCK, self.facts)
        return history.load(self.run_dir)


@asynccontextmanager
async def running(stack: Stack, run_dir: Path) -> AsyncIterator[Run]:
    run = Run(stack, run_dir)
    await run.begin()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run.follow(name)) for name in run.children]
        try:
            await run.until("both ready", lambda: run.last("tap", "ready") and run.last("generator", "ready"))
            yield run
        finally:
            for child in run.children.values():
                child.kill()
            await asyncio.wait(tasks)


async def test_every_planned_envelope_is_sent_on_time_and_found_in_the_input_log(stack: Stack, tmp_path: Path) -> None:
    async with running(stack, tmp_path / "run") as run:
        await run.segment(1000, 500, (("not_json", 0.02), ("oversized", 0.01)))
        await run.until("all read live", lambda: run.last("tap", "progress").get("input") == 1000)
        await run.stop_generator()
        done = await run.fresh_read()
        assert done["complete"]
        found = await run.end()
    assert found.run.sealed
    assert (found.run.torn, found.run.missing, found.run.fresh_complete) == ((), (), True)
    (part,) = found.partitions()
    envelopes = part.envelopes
    assert len(envelopes) == 1000
    assert (envelopes["outcome"] == Outcome.ACKED).all()
    assert (envelopes["in_offset"] >= 0).all()
    assert (envelopes["kind"] > 0).sum() == (envelopes["kind"][envelopes["kind"] > 0] > 0).sum() > 5
    assert (part.sightings["deviation"] == 0).all()
    assert len(part.sightings) == 2000
    late_ms = (envelopes["sent_ns"] - envelopes["due_ns"]) / MS
    assert (late_ms >= 0).all()
    assert sorted(late_ms)[500] < 5
    # What the acknowledgement said and where the record was found is the same.
    inputs = part.sightings[(part.sightings["topic"] == Role.INPUT) & (part.sightings["final"] == 1)]
    rows = envelopes[inputs["row"]]
    assert (rows["in_offset"] == inputs["offset"]).all()
    assert (rows["in_partition"] == inputs["partition"]).all()


async def test_results_of_the_reference_pipeline_are_joined_to_their_envelopes(stack: Stack, tmp_path: Path) -> None:
    async with running(stack, tmp_path / "run") as run:
        names = {topic["role"]: topic["name"] for topic in run.topics}
        recipe = launch.recipe(
            "reference", stack.endpoints, names, group=run.group, instance="one", log=tmp_path / "target.log"
        )
        handle = spawn.start(recipe, "test-traffic")
        try:
            await launch.wait_ready(handle, recipe, str(stack.endpoints.direct.kafka), run.group)
            poison = (("not_json", 0.02), ("wrong_encoding", 0.01), ("field_missing", 0.01))
            planned = await run.segment(800, 400, poison, 0.2)
            await run.until("all resolved", lambda: run.last("tap", "progress").get("resolved") == 800)
            await run.until(
                "commits to reach the ends",
                lambda: all(row["committed"] >= row["end"] for row in run.last("tap", "progress")["progress"]),
            )
            assert run.last("tap", "progress")["age_ms"] == 0
            await run.stop_generator()
            await run.fresh_read()
            found = await run.end()
        finally:
            await asyncio.to_thread(spawn.end, handle, 3.0)
    (part,) = found.partitions()
    envelopes, good = part.envelopes, part.envelopes["kind"] == 0
    assert (~good).sum() > 5
    for name in ("n_output", "live_output", "fresh_output"):
        assert (envelopes[name] == good).all(), name
    for name in ("n_dlq", "live_dlq", "fresh_dlq"):
        assert (envelopes[name] == ~good).all(), name
    assert (envelopes["committed"] == 1).all()
    assert (part.sightings["row"] >= 0).all()
    assert (part.sightings["deviation"] == 0).all(), part.sightings[part.sightings["deviation"] != 0][:5]
    assert (envelopes["first_output_ns"][good] > envelopes["due_ns"][good]).all()
    # What was sent twice is in the input twice, and gave its one result all the same.
    twice = int(expand(planned, run.seed)["twice"].sum())
    inputs = (part.sightings["topic"] == Role.INPUT) & (part.sightings["final"] == 1)
    assert inputs.sum() == 800 + twice > 900
    assert (found.column("sends")["copy"] == 1).sum() == (found.column("acks")["copy"] == 1).sum() == twice


async def test_a_killed_generator_leaves_indeterminate_sends_that_the_input_log_settles(
    stack: Stack, tmp_path: Path
) -> None:
    async with running(stack, tmp_path / "run") as run:
        await run.segment(3000, 500)
        await run.until("some hundred sent", lambda: run.last("generator", "progress").get("sent", 0) > 400)
        os.kill(run.children["generator"].pid, signal.SIGKILL)
        await run.children["generator"].wait()
        await run.fresh_read()
        found = await run.end()
    (part,) = found.partitions()
    outcomes, envelopes = part.envelopes["outcome"], part.envelopes
    in_log = envelopes["in_offset"] >= 0
    assert (outcomes[in_log] == Outcome.ACKED).all()
    assert (outcomes[~in_log] != Outcome.ACKED).all()
    # At most the second that was reserved ahead is unknown, the rest of the plan was never tried.
    assert 0 < (outcomes == Outcome.INDETERMINATE).sum() <= 600
    assert (outcomes == Outcome.NOT_SENT).sum() > 1000
    first_unsent = envelopes["k"][outcomes == Outcome.NOT_SENT].min()
    assert envelopes["k"][in_log].max() < first_unsent


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
async def test_an_outage_of_the_broker_neither_loses_nor_repeats_a_send(
    stack: Stack, tmp_path: Path, *, kill: bool
) -> None:
    async with running(stack, tmp_path / "run") as run:
        await run.segment(2000, 400)
        await run.until("some sent", lambda: run.last("tap", "progress").get("input", 0) > 100)
        gone_ns = await stack.stop_part("kafka", kill=kill)
        back_ns = (await stack.start_part("kafka")).ready_low_ns
        await run.until("all read live", lambda: run.last("tap", "progress").get("input") == 2000, 40)
        await run.stop_generator()
        assert (await run.fresh_read())["complete"]
        found = await run.end()
    (part,) = found.partitions()
    assert (part.envelopes["outcome"] == Outcome.ACKED).all()
    assert (part.envelopes["in_offset"] >= 0).all()
    assert len(part.sightings) == 4000
    assert not found.run.poisoned
    # The schedule did not wait for the broker: what was due while it was away was handed over while it was away, or
    # half of it at least, for a busy machine wakes the generator late.
    due_ns, sent_ns = part.envelopes["due_ns"], part.envelopes["sent_ns"]
    in_outage = (due_ns > gone_ns) & (due_ns < back_ns)
    assert in_outage.sum() > 20
    assert (sent_ns[in_outage] < back_ns).mean() > 0.5


async def test_a_parent_that_dies_ends_both_in_order(stack: Stack, tmp_path: Path) -> None:
    async with running(stack, tmp_path / "run") as run:
        await run.segment(5000, 500)
        await run.until("some sent", lambda: run.last("generator", "progress").get("sent", 0) > 100)
        for child in run.children.values():
            child.hang_up()
        async with asyncio.timeout(15):
            assert [await child.wait() for child in run.children.values()] == [0, 0]
        run.facts.close()
    found = history.load(tmp_path / "run")
    assert not found.run.sealed
    assert found.run.torn == ()
    (part,) = found.partitions()
    assert set(part.envelopes["outcome"].tolist()) <= {Outcome.ACKED, Outcome.INDETERMINATE, Outcome.NOT_SENT}
    assert (part.envelopes["outcome"] == Outcome.NOT_SENT).sum() > 3000


async def test_rows_of_a_table_are_read_as_texts_and_a_table_that_is_not_there_is_told(stack: Stack) -> None:
    dsn = stack.endpoints.direct.postgres.dsn
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE SCHEMA strange")
        await connection.execute('CREATE TABLE strange."Ledger" (id text, "Amount" numeric(12, 2), n int)')
        await connection.execute("INSERT INTO strange.\"Ledger\" VALUES ('a', 1.5, NULL), ('b', 20, 3)")
        table = Table("strange.Ledger", "id", {"Amount": "${amount}", "n": "${count}"})
        rows = [row async for batch in afterwards.rows(table, dsn) for row in batch]
        assert [json.loads(row.value or b"") for row in rows] == [
            {"id": "a", "Amount": "1.50", "n": None},
            {"id": "b", "Amount": "20.00", "n": "3"},
        ]
        assert [(row.topic, row.offset) for row in rows] == [("table strange.Ledger", n) for n in range(2)]
        with pytest.raises(afterwards.Unread, match="table nowhere cannot be read"):
            [batch async for batch in afterwards.rows(Table("nowhere", "id"), dsn)]
    finally:
        await connection.execute("DROP SCHEMA IF EXISTS strange CASCADE")
        await connection.close()
