"""Experiments and fixtures in somebody else's test suite, on the real parts, in a pytest of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from waits import blocking_until

BUNDLED = Path(__file__).parents[2] / "examples/pytest/chaos/test_chaos_parts.py"
EXPERIMENT = """\
chaosd: 1
title: Redis answers late for a moment
target: reference
traffic: {rate: 100/s, streams: 4}
phases: {warmup: 300ms, baseline: 2s, hold: 1s}
timeline:
  - {at: 0s, for: 2s, fault: latency, on: redis, latency: 150ms}
expect:
  recovery: {within: 2s, from: heal}
"""
TESTS = """\
import asyncio
import time

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient


def test_the_testbed_is_up_and_guarded(chaos_testbed):
    assert chaos_testbed.directory.is_dir()
    assert chaos_testbed.endpoints.direct.redis != chaos_testbed.endpoints.proxied.redis
    assert chaos_testbed.redis_url == f"redis://{chaos_testbed.endpoints.proxied.redis}/0"


def test_redis_replies_as_bytes_and_as_text(chaos_redis, request):
    chaos_redis.set("k", "v")
    assert chaos_redis.get("k") == (b"v" if "[bytes]" in request.node.name else "v")


def test_kafka_postgres_and_toxiproxy_answer(chaos_testbed):
    async def ask():
        connection = await asyncpg.connect(chaos_testbed.postgres_dsn)
        assert await connection.fetchval("SELECT 41 + 1") == 42
        await connection.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=chaos_testbed.kafka_bootstrap)
        await admin.start()
        assert (await admin.describe_cluster())["brokers"]
        await admin.close()
        assert "redis" in await chaos_testbed.toxiproxy.list()

    asyncio.run(ask())


def test_an_envelope_through_a_topic_of_its_own(chaos_kafka, chaos_envelopes):
    topic = chaos_kafka.topic("ticks", partitions=2)
    sent = [chaos_envelopes.wire(one) for one in chaos_envelopes.ticks(3)]
    places = [chaos_kafka.send(topic, one, key=b"k", headers=[("h", b"1")]) for one in sent]
    assert [offset for _, offset in places] == [0, 1, 2]
    read = chaos_kafka.read(topic, 3)
    assert [one.value for one in read] == sent
    assert (read[0].key, read[0].headers) == (b"k", (("h", b"1"),))


def test_a_schema_of_its_own(chaos_postgres):
    chaos_postgres.execute("CREATE TABLE t (n int)")
    chaos_postgres.execute("INSERT INTO t VALUES ($1)", 7)
    assert chaos_postgres.fetch("SELECT n FROM t") == [{"n": 7}]


def ping_ms(testbed):
    with testbed.redis(decode=True) as client:
        client.ping()
        began = time.monotonic()
        client.ping()
        return 1000 * (time.monotonic() - began)


def test_a_fault_is_in_force_in_its_block_only(chaos_fault, chaos_testbed):
    with chaos_fault.latency("redis", latency_ms=300):
        assert ping_ms(chaos_testbed) >= 300
    assert not asyncio.run(chaos_testbed.toxiproxy.list())["redis"].toxics


def test_a_connection_outlives_a_mute_and_its_answer_does_not(chaos_fault, chaos_testbed):
    with chaos_testbed.redis(decode=True) as client:
        connection = client.connection_pool.get_connection()
        with chaos_fault.mute("redis"):
            connection.send_command("ECHO", "lost")
            assert not connection.can_read(timeout=0.3)
        connection.send_command("ECHO", "later")
        assert connection.read_response() == "later"


def test_what_a_mute_left_is_gone_after_its_test(chaos_toxiproxy):
    assert not asyncio.run(chaos_toxiproxy.list())["redis"].toxics


def test_a_fault_ends_with_an_error_and_with_a_cancellation(chaos_fault, chaos_testbed):
    async def hurt():
        async with chaos_fault.latency("redis", latency_ms=300), chaos_fault.down("postgres"):
            assert ping_ms(chaos_testbed) >= 300
            await asyncio.sleep(60)

    async def cut():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await hurt()

    asyncio.run(cut())
    with pytest.raises(ZeroDivisionError), chaos_fault.kill("redis"):
        1 / 0
    proxies = asyncio.run(chaos_testbed.toxiproxy.list())
    assert all(one.enabled and not one.toxics for one in proxies.values())
    ping_ms(chaos_testbed)


def test_what_a_test_leaves_on_toxiproxy(chaos_toxiproxy):
    asyncio.run(chaos_toxiproxy.add_toxic("redis", "own", "latency", "downstream", {"latency": 1, "jitter": 0}))
    asyncio.run(chaos_toxiproxy.set_enabled("postgres", False))


def test_is_cleared_after_it(chaos_toxiproxy):
    proxies = asyncio.run(chaos_toxiproxy.list())
    assert all(one.enabled and not one.toxics for one in proxies.values())
"""
LONG = """\
import time


def test_hurts_for_long(chaos_fault):
    with chaos_fault.latency("redis", latency_ms=100):
        time.sleep(120)
"""


class Suite:
    """A folder with tests, and the processes that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.log = folder / "pytest.log"
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        # Its process is found by the state folder, and so is every other that it starts.
        env |= {"CHAOSD_STATE": str(self.state)}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-rA", "--junitxml=junit.xml", *options],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def leases(self) -> list[Path]:
        return list((self.state / "leases").glob("*.json"))

    def testbeds(self) -> list[str]:
        folder = self.state / "testbeds"
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def processes(self) -> list[str]:
        needle = f"CHAOSD_STATE={self.state}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if needle in (path / "environ").read_bytes():
                    found.append(path.name)
            except OSError:
                continue
        return found

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")


@pytest.fixture
def suite(tmp_path):
    made = Suite(tmp_path)
    started = []

    def start(*options):
        started.append(made.start(*options))
        return started[-1]

    made.begin = start
    yield made
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
    blocking_until(lambda: not made.testbeds(), "the testbed is gone", 60)


@pytest.mark.slow
def test_two_workers_run_an_experiment_once_and_the_fixtures_on_testbeds_that_are_gone_afterwards(suite):
    (suite.folder / "redis-late.chaos.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (suite.folder / "test_parts.py").write_text(TESTS, encoding="utf-8")
    shutil.copy(BUNDLED, suite.folder)  # what `chaosd init --pytest` writes
    options = ("--chaos-inconclusive=skip", "--chaos-seed=1", "--chaos-report-dir=reports", "-n2")
    code = suite.begin(*options).wait(400)
    assert code == 0, suite.said()
    cases = {case.get("name"): case for case in ET.parse(suite.folder / "junit.xml").iter("testcase")}
    assert {"run", "loss", "recovery", "test_redis_replies_as_bytes_and_as_text[text]"} <= set(cases)
    facts = [
        {entry.get("name"): entry.get("value") for entry in cases[name].iter("property")} for name in ("run", "loss")
    ]
    assert facts[0]["chaosd_run_dir"] == facts[1]["chaosd_run_dir"]
    run_dir = Path(facts[0]["chaosd_run_dir"])
    assert facts[0]["chaosd_verdict"] in ("PASS", "INCONCLUSIVE")
    assert (run_dir / "report.html").is_file()
    assert [path for path in (suite.folder / "runs").iterdir() if path.is_dir()] == [run_dir]
    assert {"report.html", "report.md", "junit.xml"} <= {
        path.name for path in (suite.folder / "reports" / run_dir.name).iterdir()
    }
    assert suite.testbeds() == suite.leases() == []
    assert blocking_until(lambda: not suite.processes(), "no process is left", 10) is True


@pytest.mark.slow
def test_an_interrupted_suite_heals_before_it_ends(suite):
    (suite.folder / "redis-late.chaos.yaml").write_text(EXPERIMENT, encoding="utf-8")
    running = suite.begin()
    blocking_until(suite.leases, "the fault is injected", 120)
    running.send_signal(signal.SIGINT)
    assert running.wait(120) == 2, suite.said()
    assert "KeyboardInterrupt" in suite.said()
    assert suite.testbeds() == suite.leases() == []
    assert blocking_until(lambda: not suite.processes(), "no process is left", 10) is True


def test_an_interrupted_block_with_a_fault_heals_before_the_session_ends(suite):
    (suite.folder / "test_long.py").write_text(LONG, encoding="utf-8")
    running = suite.begin()
    blocking_until(suite.leases, "the fault is injected", 120)
    running.send_signal(signal.SIGINT)
    blocking_until(lambda: not suite.leases(), "the fault is undone", 30)
    assert running.wait(120) == 2, suite.said()
    assert suite.testbeds() == []


def test_a_suite_that_is_killed_in_a_block_with_a_fault_leaves_nothing(suite):
    (suite.folder / "test_long.py").write_text(LONG, encoding="utf-8")
    running = suite.begin()
    blocking_until(suite.leases, "the fault is injected", 120)
    running.kill()
    running.wait()
    blocking_until(lambda: not suite.leases(), "the fault is undone", 10)
    blocking_until(lambda: not suite.testbeds(), "the testbed is gone", 60)
    blocking_until(lambda: not suite.processes(), "no process is left", 60)
