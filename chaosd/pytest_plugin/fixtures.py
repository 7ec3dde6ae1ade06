"""Fixtures: a running testbed, and Redis in both of its decode modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaosd.pytest_plugin.sessions import bench_of

if TYPE_CHECKING:
    import redis

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
        return str(self.endpoints.proxied.kafka)

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
