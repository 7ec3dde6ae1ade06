"""Fixtures: a running testbed, its parts, faults for the length of a block, and experiments run inside of a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaosd.pytest_plugin.sessions import bench_of

if TYPE_CHECKING:
    import redis

    from chaosd.pytest_plugin.envelopes import ChaosEnvelopes
    from chaosd.pytest_plugin.injecting import Faults
    from chaosd.pytest_plugin.parts import ChaosKafka, ChaosPostgres
    from chaosd.pytest_plugin.running import Runner
    from chaosd.stack.handle import Endpoints
    from chaosd.stack.parts.toxiproxy.client import Toxiproxy
    from chaosd.testbed.testbed import Testbed


class ChaosTestbed:
    """A running stack. Addresses are the proxied ones, which faults hit; `endpoints.direct` goes past the proxies.

    They are read from disk each time: a testbed that an experiment left broken is replaced by a new one.
    """

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed

    @property
    def directory(self) -> Path:
        """The testbed's directory."""
        return self._testbed.directory

    @property
    def endpoints(self) -> Endpoints:
        """All addresses: `.direct` and `.proxied`, each with `.redis`, `.kafka` and `.postgres`."""
        from chaosd.stack.stack import Stack

        return Stack.open(self.directory).endpoints

    @property
    def redis_url(self) -> str:
        """`redis://host:port/0`."""
        return f"redis://{self.endpoints.proxied.redis}/0"

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port` of the broker."""
        return self.endpoints.proxied.bootstrap

    @property
    def postgres_dsn(self) -> str:
        """`postgresql://user:password@host:port/database`."""
        return self.endpoints.proxied.postgres.dsn

    @property
    def toxiproxy(self) -> Toxiproxy:
        """The adapter to the Toxiproxy in front of the parts; its methods are asynchronous."""
        return self._testbed.stack.toxiproxy

    def redis(self, *, decode: bool) -> redis.Redis:
        """A new client whose replies are text (`decode`) or bytes; close it after use."""
        import redis

        address = self.endpoints.proxied.redis
        return redis.Redis(host=address.host, port=address.port, decode_responses=decode)

    def close(self) -> None:
        """Give up what this object holds; the testbed stays."""
        self._testbed.stack.close()


@pytest.fixture(scope="session")
def chaos_testbed(pytestconfig: pytest.Config) -> Iterator[ChaosTestbed]:
    """Redis, Kafka, PostgreSQL and Toxiproxy, real and running, for the session; shared with `*.chaos.yaml` tests."""
    found = ChaosTestbed(bench_of(pytestconfig).testbed())
    yield found
    found.close()


@pytest.fixture(params=["bytes", "text"])
def chaos_redis(request: pytest.FixtureRequest, chaos_testbed: ChaosTestbed) -> Iterator[Any]:
    """A Redis client; the test runs once with replies as bytes and once as text."""
    client = chaos_testbed.redis(decode=request.param == "text")
    yield client
    client.close()


@pytest.fixture
def chaos_kafka(pytestconfig: pytest.Config, chaos_testbed: ChaosTestbed) -> Iterator[ChaosKafka]:
    """Kafka with topics of the test's own: `topic`, `send`, `read`, and `bootstrap` for one's own clients."""
    from chaosd.pytest_plugin.parts import ChaosKafka

    found = ChaosKafka(bench_of(pytestconfig), chaos_testbed.endpoints)
    yield found
    found.close()


@pytest.fixture
def chaos_postgres(pytestconfig: pytest.Config, chaos_testbed: ChaosTestbed) -> Iterator[ChaosPostgres]:
    """PostgreSQL with a schema of the test's own: `fetch`, `execute`, and `dsn` for one's own clients."""
    from chaosd.pytest_plugin.parts import ChaosPostgres

    found = ChaosPostgres(bench_of(pytestconfig), chaos_testbed.endpoints)
    yield found
    found.close()


@pytest.fixture
def chaos_toxiproxy(pytestconfig: pytest.Config, chaos_testbed: ChaosTestbed) -> Iterator[Toxiproxy]:
    """The adapter to Toxiproxy (asynchronous methods). Toxics that the test leaves are removed, proxies opened again.

    Nothing heals them while a test process is dead but the end of its testbed: `chaos_fault` holds a lease.
    """
    from chaosd.pytest_plugin.parts import restore

    bench, proxies = bench_of(pytestconfig), chaos_testbed.toxiproxy
    before = bench.call(proxies.list())
    yield proxies
    bench.call(restore(proxies, before))


@pytest.fixture
def chaos_fault(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, chaos_testbed: ChaosTestbed
) -> Iterator[Faults]:
    """Faults for a block: `with chaos_fault.latency("redis", latency_ms=400): …`, or `async with`."""
    from chaosd.pytest_plugin.injecting import Faults

    made = Faults(bench_of(pytestconfig), request.node.name)
    yield made
    made.close()


@pytest.fixture
def chaos_run(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path: Path) -> Iterator[Runner]:
    """Run an experiment in the test: `chaos_run("redis-latency")`, a path, or the YAML itself."""
    from chaosd.pytest_plugin.items import tell
    from chaosd.pytest_plugin.running import Runner

    told: list[str] = []
    inconclusive = str(pytestconfig.getoption("--chaos-inconclusive"))
    yield Runner(bench_of(pytestconfig), tmp_path, inconclusive, lambda event: tell(told, event))
    if told:
        request.node.add_report_section("call", "chaosd", "\n".join(told))


@pytest.fixture
def chaos_envelopes(pytestconfig: pytest.Config) -> ChaosEnvelopes:
    """Makes envelopes, good and spoiled; needs no testbed. The ids are those of --chaos-seed, by default of 0."""
    from chaosd.pytest_plugin.envelopes import ChaosEnvelopes

    return ChaosEnvelopes(pytestconfig.getoption("--chaos-seed") or 0)
