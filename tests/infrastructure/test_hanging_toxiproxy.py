"""The removal of a toxic can hang, and the whole server with it: the heal ladder up to its restart.

Once with the real deadlock (github.com/Shopify/toxiproxy/issues/558), and once with a stub server that hangs at will,
which shows the order of the rungs and that none of them waits for ever.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaosd.faults.table import FAULTS
from chaosd.healing import ladder
from chaosd.healing.lease import Lease, new_lease
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError
from chaosd.process import spawn
from chaosd.stack.address import Address
from chaosd.stack.handle import Proxy
from chaosd.stack.parts.table import PARTS
from chaosd.stack.parts.toxiproxy.client import Toxiproxy
from chaosd.testbed import record as records
from chaosd.testbed.testbed import Testbed

CLOCK = SystemClock()
# Rung 1 has two seconds, the restart fifteen: no undo takes longer than both.
LADDER_S = 17.0


def lease_of(testbed: str, memo: dict[str, Any], name: str = "latency", **params: str) -> Lease:
    return new_lease(
        run_id="ladder", injection=f"{name}-redis", fault=name, on="redis", params=params or {"latency": "100ms"},
        memo=memo, tag="hang", testbed=testbed, lasts_ns=60 * SECOND, clock=CLOCK,
    )  # fmt: skip


@pytest.fixture
async def bed(stack, tmp_path, monkeypatch) -> AsyncIterator[Testbed]:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    records.save(
        stack.folder, records.Record(name="session", marker=stack.record.marker, provider="embedded", kept=True)
    )
    yield Testbed(stack.folder, stack, CLOCK)
    await stack.start_part("toxiproxy")
    (stack.folder / records.FILE).unlink()


async def test_the_real_deadlock_of_a_removal_ends_in_a_restart(bed):
    fault = FAULTS["slow_close"]  # a toxic without a buffer of its own: it stands still with its reader
    params = fault.params.model_validate({"delay": "10ms"})
    memo = await fault.prepare(bed, "redis", params)
    lease = lease_of(str(bed.directory), memo, "slow_close", delay="10ms")
    await fault.inject(bed, "redis", params, memo, lease.tag)
    before = bed.handle("toxiproxy")
    place = bed.stack.endpoints.proxied.redis
    with socket.create_connection((place.host, place.port)) as deaf:
        deaf.sendall(b"EVAL \"return string.rep('x', 50000000)\" 0\r\n")  # and it never reads the answer
        deaf.settimeout(LADDER_S)
        await asyncio.to_thread(deaf.recv, 1, socket.MSG_PEEK)
        await asyncio.sleep(0.5)  # until nothing more fits into the buffers on the way
        began = time.monotonic()
        cleared = await ladder.undo(bed, lease)
        assert time.monotonic() - began < LADDER_S
    assert cleared.evidence["ladder"] == "Toxiproxy was restarted"
    assert not spawn.alive(before)
    assert all(proxy.enabled and not proxy.toxics for proxy in (await bed.stack.toxiproxy.list()).values())
    await PARTS["redis"].round_trip(bed.stack.endpoints.proxied.of("redis"))


class StubToxiproxy:
    """A fake Toxiproxy: it knows proxies and toxics, and from the first removal of a toxic on it answers nothing."""

    def __init__(self, proxies: tuple[Proxy, ...]) -> None:
        self.proxies: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.hanging = threading.Event()
        self.over = threading.Event()
        self.hangs = True
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: Any) -> None:
                pass

            def _answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else {}
                stub.asked.append(f"{self.command} {self.path}")
                if self.command == "DELETE" and "/toxics/" in self.path and stub.hangs:
                    stub.hanging.set()
                if stub.hanging.is_set():
                    stub.over.wait(60)
                    return
                status, said = stub.answer(self.command, self.path, body)
                raw = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = Address("127.0.0.1", self.http.server_address[1])
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()
        for proxy in proxies:
            self.answer("POST", "/proxies", {"name": proxy.name, "listen": proxy.listen, "upstream": proxy.upstream})

    def answer(self, verb: str, path: str, body: Any) -> tuple[int, Any]:
        _, _, *names = path.split("/")
        if verb == "GET":
            return 200, self.proxies[names[0]] if names else self.proxies
        if len(names) == 2:  # a toxic is added
            self.proxies[names[0]]["toxics"].append({**body, "toxicity": 1})
            return 200, body
        self.proxies[body["name"]] = {"enabled": True, "toxics": [], **body}
        return 201, self.proxies[body["name"]]

    def restart(self) -> None:
        """As a process does: everything it knew is gone, and it answers again."""
        self.over.set()
        self.proxies.clear()
        self.hangs = False
        self.hanging.clear()

    def end(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class StubStack:
    """What the ladder uses of a stack, with the stub behind it; `done` is what it was asked to do to the process."""

    def __init__(self, stub: StubToxiproxy, folder: Path, *, starts: bool = True) -> None:
        self.stub, self.folder, self._proxies, self._starts = stub, folder, PROXIES, starts
        self.toxiproxy = Toxiproxy(stub.address)
        self.done: list[str] = []
        self.endpoints = SimpleNamespace(
            proxied=SimpleNamespace(of=lambda part: "proxied"), direct=SimpleNamespace(of=lambda part: "direct")
        )

    def members(self, part: str) -> tuple[str, ...]:
        return (part,)

    def proxy_of(self, part: str) -> tuple[str, ...]:
        return tuple(proxy.name for proxy in self._proxies if proxy.part == part)

    def alive(self, part: str) -> bool:
        return True

    def close(self) -> None:
        self.toxiproxy.close()
        self.toxiproxy = Toxiproxy(self.stub.address)

    async def stop_part(self, part: str, *, kill: bool) -> None:
        self.done.append(f"kill {part}" if kill else f"stop {part}")

    async def start_part(self, part: str) -> None:
        self.done.append(f"start {part}")
        if self._starts:
            self.stub.restart()
        await self.toxiproxy.populate(self._proxies)


PROXIES = (
    Proxy("redis", "redis", "127.0.0.1:1", "127.0.0.1:2"),
    Proxy("kafka-1", "kafka", "127.0.0.1:3", "127.0.0.1:4"),
)


@pytest.fixture
def stub() -> Iterator[StubToxiproxy]:
    made = StubToxiproxy(PROXIES)
    yield made
    made.end()


async def undone(stub: StubToxiproxy, stack: StubStack, folder: Path) -> tuple[Any, float]:
    bench = SimpleNamespace(stack=stack, handle=lambda process: spawn.handle_of(1))
    fault = FAULTS["latency"]
    params = fault.params.model_validate({"latency": "100ms"})
    memo = await fault.prepare(bench, "redis", params)
    await fault.inject(bench, "redis", params, memo, "hang")
    stub.asked.clear()
    began = time.monotonic()
    try:
        return await ladder.undo(bench, lease_of(str(folder), memo)), time.monotonic() - began
    finally:
        stack.toxiproxy.close()


async def test_a_stub_that_hangs_on_removal_is_restarted_populated_and_asked_for_data(stub, tmp_path, monkeypatch):
    trips: list[str] = []

    async def round_trip(way: str) -> None:
        trips.append(way)

    monkeypatch.setitem(PARTS, "redis", SimpleNamespace(round_trip=round_trip))
    stack = StubStack(stub, tmp_path)
    cleared, took_s = await undone(stub, stack, tmp_path)
    assert cleared.evidence["ladder"] == "Toxiproxy was restarted"
    assert took_s < LADDER_S
    assert "DELETE /proxies/redis/toxics/hang.latency.downstream" in stub.asked  # rung 1 was tried
    assert stack.done == ["kill toxiproxy", "start toxiproxy"]
    assert set(stub.proxies) == {"redis", "kafka-1"}  # made anew
    assert trips == ["proxied"]  # and the way was tried


async def test_a_stub_that_goes_on_hanging_is_a_heal_error_within_the_deadline(stub, tmp_path):
    began = time.monotonic()
    with pytest.raises(HealError, match="nor by a restart of Toxiproxy"):
        await undone(stub, StubStack(stub, tmp_path, starts=False), tmp_path)
    assert time.monotonic() - began < LADDER_S
