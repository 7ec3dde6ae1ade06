"""Whether a pipeline that chaosd did not start is at the proxies: by the sockets of whoever is not chaosd."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from chaosd.journal.columns import NOT_KNOWN
from chaosd.kernel.clock import SystemClock
from chaosd.process import spawn
from chaosd.testbed.usage import Usage, sample_others

PARTS = ("redis", "kafka")
CLIENT = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print(flush=True); input()"


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextmanager
def somebody_at(port: int) -> Iterator[int]:
    """Another process that is connected to this port; gives its pid."""
    argv = [sys.executable, "-c", CLIENT, str(port)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.readline()
        try:
            yield client.pid
        finally:
            client.kill()


def test_others_count_and_own_processes_do_not():
    with listening() as redis, listening() as kafka:
        ports = {"redis": [redis.getsockname()[1]], "kafka": [kafka.getsockname()[1]]}
        with socket.create_connection(redis.getsockname()), somebody_at(ports["kafka"][0]) as pid:
            rows = sample_others([os.getpid()], ports, 7, PARTS)
            assert rows["proxied"].tolist() == [0, 1]
            assert rows["direct"].tolist() == [NOT_KNOWN, NOT_KNOWN]
            assert sample_others([os.getpid(), pid], ports, 7, PARTS)["proxied"].tolist() == [0, 0]


@dataclass
class _Part:
    port: int = 1
    owns: tuple[int, ...] = ()


@dataclass
class _Proxy:
    part: str
    listen: str


@dataclass
class _Bed:
    """Stands for a testbed with a target that runs already: no process of it is known."""

    listens: dict[str, str]
    parts: tuple[str, ...] = PARTS
    processes: tuple[str, ...] = (*PARTS, "target")
    replicas: tuple[Any, ...] = field(default=())

    @property
    def record(self) -> Any:
        return self

    @property
    def stack(self) -> Any:
        return _Stack(self)

    def handle(self, name: str) -> None:
        return None


@dataclass
class _Stack:
    bed: _Bed

    @property
    def record(self) -> Any:
        return self

    @property
    def parts(self) -> dict[str, _Part]:
        return {part: _Part() for part in self.bed.parts}

    def proxies(self) -> list[_Proxy]:
        return [_Proxy(part, listen) for part, listen in self.bed.listens.items()]


def test_nothing_is_claimed_until_somebody_was_met_at_a_proxy(monkeypatch):
    # The other one is a child of this test, and so would be of chaosd.
    monkeypatch.setattr(spawn, "handle_of", lambda _pid: None)
    with listening() as redis, listening() as kafka:
        at = {"redis": redis.getsockname(), "kafka": kafka.getsockname()}
        usage = Usage(_Bed({part: f"{host}:{port}" for part, (host, port) in at.items()}), SystemClock())  # type: ignore[arg-type]
        assert len(usage.sample()[0]) == 0
        with somebody_at(at["kafka"][1]):
            assert usage.sample()[0]["proxied"].tolist() == [0, 1]
        # It was there: that it is not there now is known.
        assert usage.sample()[0]["proxied"].tolist() == [0, 0]
