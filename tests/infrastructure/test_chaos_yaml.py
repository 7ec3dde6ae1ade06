"""Experiments and fixtures in somebody else's test suite, on the real parts, in a pytest of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXPERIMENT = """\
chaosd: 1
title: Redis answers late for a moment
target: reference
traffic: {rate: 100/s, streams: 2}
timeline:
  - {at: 0s, for: 3s, fault: latency, on: redis, latency: 150ms}
expect:
  recovery: {within: 2s, from: heal}
"""
TESTS = """\
import asyncio
import os
from pathlib import Path

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient


def test_the_testbed_is_up_and_guarded(chaos_testbed):
    assert chaos_testbed.directory.is_dir()
    assert chaos_testbed.directory.name == f"pytest-main-{os.getpid()}"
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
"""


def until(condition: Callable[[], Any], deadline_s: float, what: str) -> Any:
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.1)
    return found


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
    until(lambda: not made.testbeds(), 60, "the testbed is gone")


@pytest.mark.slow
def test_experiment_and_fixtures_share_one_testbed_that_is_gone_afterwards(suite):
    (suite.folder / "redis-late.chaos.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (suite.folder / "test_parts.py").write_text(TESTS, encoding="utf-8")
    code = suite.begin("--chaos-inconclusive=skip", "--chaos-seed=1").wait(300)
    assert code == 0, suite.said()
    cases = {case.get("name"): case for case in ET.parse(suite.folder / "junit.xml").iter("testcase")}
    assert set(cases) == {
        "redis-late",
        "test_the_testbed_is_up_and_guarded",
        "test_redis_replies_as_bytes_and_as_text[bytes]",
        "test_redis_replies_as_bytes_and_as_text[text]",
        "test_kafka_postgres_and_toxiproxy_answer",
    }
    facts = {entry.get("name"): entry.get("value") for entry in cases["redis-late"].iter("property")}
    assert facts["chaosd_verdict"] in ("PASS", "INCONCLUSIVE")
    assert (Path(facts["chaosd_run_dir"]) / "report.html").is_file()
    assert Path(facts["chaosd_run_dir"]).parent == suite.folder / "runs"
    assert suite.testbeds() == suite.leases() == []
    assert until(lambda: not suite.processes(), 10, "no process is left") is True


@pytest.mark.slow
def test_an_interrupted_suite_heals_before_it_ends(suite):
    (suite.folder / "redis-late.chaos.yaml").write_text(EXPERIMENT, encoding="utf-8")
    running = suite.begin()
    until(suite.leases, 120, "the fault is injected")
    running.send_signal(signal.SIGINT)
    assert running.wait(120) == 2, suite.said()
    assert "KeyboardInterrupt" in suite.said()
    assert suite.testbeds() == suite.leases() == []
    assert until(lambda: not suite.processes(), 10, "no process is left") is True


@pytest.mark.slow
def test_a_killed_suite_leaves_nothing(suite):
    (suite.folder / "redis-late.chaos.yaml").write_text(EXPERIMENT, encoding="utf-8")
    running = suite.begin()
    until(suite.leases, 120, "the fault is injected")
    running.kill()
    running.wait()
    until(lambda: not suite.leases(), 10, "the fault is undone")
    until(lambda: not suite.testbeds(), 60, "the testbed is gone")
    until(lambda: not suite.processes(), 60, "no process is left")
