"""The edge of a toxic: from the adapter's call to its effect on the wire, seen by a probe that never rests.

python benchmarks/toxic_edge.py [rounds]

Toxiproxy alone, an echo behind it and a probe in front of it, each a process of its own. The probe asks again as soon
as it has its answer (a tenth of a millisecond on a quiet machine), so the first answer that is late, or the end of its
connection, tells when the toxic bit. What the machine keeps from being seen at all is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from pathlib import Path

from _rounds import head, show

from chaosd.process import spawn
from chaosd.stack.address import Address
from chaosd.stack.install import installed
from chaosd.stack.part import NotReady
from chaosd.stack.parts.toxiproxy import server
from chaosd.stack.parts.toxiproxy.client import Toxiproxy
from chaosd.stack.ports import free_ports

EDGES = 60  # of each kind in a round
LATE_NS = 20_000_000
DELAY_MS = 40
HOLD = "≤ 10 p99"

Trip = tuple[int, int]  # sent, answered; in ns, 0: the connection ended


def echo(port: int) -> None:
    """Say everything back."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=say_back, args=(connection,), daemon=True).start()


def say_back(connection: socket.socket) -> None:
    """Until the other side ends it."""
    with connection, contextlib.suppress(ConnectionError):
        while said := connection.recv(64):
            connection.sendall(said)


def probe(port: int, orders: Connection) -> None:
    """Between two orders: ask without a rest, and hand the trips over."""
    while True:
        orders.recv()
        trips: list[Trip] = []
        with socket.create_connection(("127.0.0.1", port)) as asking:
            asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            orders.send("asking")
            while not orders.poll():
                sent_ns = time.monotonic_ns()
                try:
                    asking.sendall(b"x")
                    answered = asking.recv(1)
                except ConnectionError:
                    answered = b""
                trips.append((sent_ns, time.monotonic_ns() if answered else 0))
                if not answered:
                    trips.append((time.monotonic_ns(), 0))
                    break
            orders.recv()
        orders.send(trips)


def bite_ms(trips: list[Trip], call_ns: int) -> float | None:
    """When the first answer was held back, or the connection ended; at the latest, then: when it was asked for."""
    for before, (sent_ns, answered_ns) in zip([(0, 0), *trips], trips, strict=False):
        if answered_ns == 0:
            return (trips[-1][0] - call_ns) / 1e6 if trips[-1][0] > call_ns else None
        if answered_ns > call_ns and answered_ns - sent_ns > LATE_NS:
            return max(0, max(before[1], sent_ns) - call_ns) / 1e6
    return None


def gone_ms(trips: list[Trip], call_ns: int) -> float | None:
    """When the first answer after the call was there: what was held back is let go."""
    return next(((answered_ns - call_ns) / 1e6 for _, answered_ns in trips if answered_ns > call_ns), None)


class Bench:
    """A Toxiproxy with one proxy, and the probe."""

    def __init__(self, toxiproxy: Toxiproxy, orders: Connection) -> None:
        self.toxiproxy, self.orders = toxiproxy, orders

    async def trips(self, act: str) -> tuple[list[Trip], int, int]:
        """Have the probe ask, act, and give its trips with the begin and the end of the call."""
        self.orders.send("ask")
        assert self.orders.recv() == "asking"
        await asyncio.sleep(0.01)
        call_ns = time.monotonic_ns()
        if act == "add":
            await self.toxiproxy.add_toxic("way", "t", "latency", "downstream", {"latency": DELAY_MS, "jitter": 0})
        elif act == "remove":
            await self.toxiproxy.remove_toxic("way", "t")
        else:
            await self.toxiproxy.set_enabled("way", False)
        returned_ns = time.monotonic_ns()
        await asyncio.sleep(3 * DELAY_MS / 1000)
        self.orders.send("enough")
        return self.orders.recv(), call_ns, returned_ns

    async def once(self, figures: dict[str, list[float]]) -> None:
        """A toxic comes and goes, a port closes."""
        for act, measured in (("add", bite_ms), ("remove", gone_ms), ("down", bite_ms)):
            trips, call_ns, returned_ns = await self.trips(act)
            seen_ms = measured(trips, call_ns)
            figures[act if seen_ms is not None else f"{act} unseen"].append(seen_ms or 0.0)
            if act == "add":
                figures["add call"].append((returned_ns - call_ns) / 1e6)
        await self.toxiproxy.set_enabled("way", True)


async def started(folder: Path) -> tuple[spawn.Handle, Toxiproxy, int, int]:
    """Toxiproxy with a proxy `way`; its handle, its adapter, the proxy's port and the echo's."""
    parts = installed()
    if parts is None:
        raise SystemExit("the parts are not installed: make stack")
    port, way, there = free_ports(3, set())
    handle = spawn.start(server.recipe(str(parts.toxiproxy.path), port, folder, folder / "log"), str(folder))
    async with asyncio.timeout(5):
        while True:
            try:
                await server.part.ready(Address("127.0.0.1", port))
                break
            except (NotReady, OSError):
                await asyncio.sleep(0.01)
    toxiproxy = Toxiproxy(Address("127.0.0.1", port))
    await toxiproxy.create_proxy("way", f"127.0.0.1:{way}", f"127.0.0.1:{there}")
    return handle, toxiproxy, way, there


async def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    folder = Path(tempfile.mkdtemp(prefix="chaosd-bench-"))
    handle, toxiproxy, way, there = await started(folder)
    context = multiprocessing.get_context("spawn")
    orders, theirs = context.Pipe()
    helpers = [context.Process(target=echo, args=(there,)), context.Process(target=probe, args=(way, theirs))]
    for helper in helpers:
        helper.start()
    await asyncio.sleep(0.5)
    try:
        percentiles: dict[str, list[float]] = defaultdict(list)
        everything: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            figures: dict[str, list[float]] = defaultdict(list)
            for _ in range(EDGES):
                await Bench(toxiproxy, orders).once(figures)
            for name, values in figures.items():
                everything[name] += values
                if "unseen" in name:
                    continue
                percentiles[f"{name} p50"].append(statistics.median(values))
                percentiles[f"{name} p99"].append(statistics.quantiles(values, n=100)[98])
        report(percentiles, everything)
    finally:
        for helper in helpers:
            helper.terminate()
            helper.join()
        toxiproxy.close()
        spawn.end(handle, 0.0)
        shutil.rmtree(folder, ignore_errors=True)


def report(percentiles: dict[str, list[float]], everything: dict[str, list[float]]) -> None:
    """Per round, and over all of them."""
    head()
    for name, title in (
        ("add", "latency: call → held back"),
        ("remove", "latency: call → let go"),
        ("down", "down: call → connection cut"),
        ("add call", "latency: the call itself, read back"),
    ):
        show(f"{title}, p50 of a round", percentiles[f"{name} p50"], "ms", "-")
        show(f"{title}, p99 of a round", percentiles[f"{name} p99"], "ms", HOLD if name != "add call" else "-")
    for name, values in everything.items():
        if "unseen" in name:
            print(f"{name}: {len(values)}")
            continue
        p99 = statistics.quantiles(values, n=100)[98]
        print(f"{name}: p99 of all {len(values)} {p99:.2f} ms, max {max(values):.2f} ms")


if __name__ == "__main__":
    asyncio.run(main())
