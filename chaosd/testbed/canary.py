"""The canaries: small probes of chaosd's own, DIRECT and through the proxies, which show what a fault does to a path.

They run in the conductor and cost it about a hundredth of a core; a probe gives up after a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from chaosd.journal.columns import Path, Probe, ProbeOutcome
from chaosd.kernel import names
from chaosd.kernel.clock import Clock
from chaosd.stack.address import Address
from chaosd.stack.handle import Endpoints
from chaosd.testbed import tongues
from chaosd.testbed.pace import Pace
from chaosd.testbed.testbed import Testbed
from chaosd.testbed.tongues import Exchange, Tongue
from chaosd.testbed.wire import Wire, dial

LIMIT_S = 1.0
# A row of the columns `canaries`: on, path, probe, sent_ns, done_ns, outcome, bytes.
Record = Callable[[tuple[int, ...]], None]

_PING_S = {Path.PROXIED: 0.1, Path.DIRECT: 0.2}
_CONNECT_S = {Path.PROXIED: 0.5, Path.DIRECT: 1.0}
# Around the edge of a fault.
_EDGE_PING_S = 0.04
_EDGE_CONNECT_S = 0.2
# A bulk transfer takes about this long under the cap, and the next one follows after a pause.
_BULK_S = 0.3
_BULK_PAUSE_S = 0.25
_BULK_BYTES_MIN = 300
_BULK_BYTES_MAX = 1_000_000
_BASELINE_TRANSFERS = 2
_STREAMS = {"upstream": Probe.BULK_UP, "downstream": Probe.BULK_DOWN}


@dataclass(slots=True)
class _Line:
    """One way to one part, and the connection that is kept on it for pings."""

    part: str
    path: Path
    address: Address
    tongue: Tongue
    kept: Wire | None = None


@dataclass(slots=True)
class _Order:
    """Bulk transfers that are wanted on one stream of one part: as long as `rate_kb_s` is not 0, and `extra` more."""

    rate_kb_s: float = 0.0
    extra: int = 0
    extra_rate_kb_s: float = 0.0
    wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def next_rate(self) -> float:
        """The rate that the next transfer is made for; 0 when none is wanted."""
        if self.rate_kb_s > 0:
            return self.rate_kb_s
        if self.extra > 0:
            self.extra -= 1
            return self.extra_rate_kb_s
        self.wanted.clear()
        return 0.0


def tongues_of(endpoints: Endpoints) -> dict[str, Tongue]:
    """How each part is spoken to. PostgreSQL by chaosd's own role on both ways: it has reserved connections."""
    own = endpoints.direct.postgres
    return {
        "redis": tongues.redis(),
        "postgres": tongues.postgres(own.user, own.password, own.database),
        "kafka": tongues.kafka(),
    }


class Canaries:
    """All canaries of a testbed. `record` is called with one row (a tuple in the order of CANARIES) a probe."""

    def __init__(self, testbed: Testbed, clock: Clock, record: Record) -> None:
        self._clock = clock
        self._record = record
        self._pace = Pace(clock)
        endpoints = testbed.stack.endpoints
        spoken = tongues_of(endpoints)
        self._parts = testbed.parts
        self._lines = [
            _Line(part, path, side.of(part), spoken[names.kind(part)])
            for part in self._parts
            for path, side in ((Path.DIRECT, endpoints.direct), (Path.PROXIED, endpoints.proxied))
        ]
        self._orders = {(part, stream): _Order() for part in self._parts for stream in _STREAMS}

    def edge(self) -> None:
        """A fault begins or ends about now: probe more often for a second."""
        self._pace.edge()

    def bulk(self, part: str, stream: str, rate_kb_s: float) -> None:
        """Measure the bandwidth of a part's proxy again and again, with transfers fit for this cap; 0 ends it.

        `stream`: upstream, downstream or both.
        """
        for order in self._chosen(part, stream):
            order.rate_kb_s = rate_kb_s
            if rate_kb_s > 0:
                order.wanted.set()

    def bulk_baseline(self, part: str, stream: str, rate_kb_s: float) -> None:
        """Do the same transfers twice, now, when there is no cap."""
        for order in self._chosen(part, stream):
            order.extra, order.extra_rate_kb_s = _BASELINE_TRANSFERS, rate_kb_s
            order.wanted.set()

    def _chosen(self, part: str, stream: str) -> list[_Order]:
        wanted = [name for name in _STREAMS if stream in (name, "both", "")]
        return [self._orders[one, name] for one in names.members(self._parts, part) for name in wanted]

    async def run(self) -> None:
        """Probe until cancelled; all connections are closed then."""
        try:
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    group.create_task(self._ping(line), name=f"ping {line.part} {line.path.name}")
                    group.create_task(self._connect(line), name=f"connect {line.part} {line.path.name}")
                for line in self._lines:
                    if line.path is Path.PROXIED:
                        for stream in _STREAMS:
                            group.create_task(self._bulk(line, stream), name=f"bulk {line.part} {stream}")
        finally:
            for line in self._lines:
                if line.kept is not None:
                    line.kept.close()

    async def _ping(self, line: _Line) -> None:
        while True:
            await self._ping_once(line)
            await self._pace.pause(_PING_S[line.path], _EDGE_PING_S)

    async def _ping_once(self, line: _Line) -> None:
        """One PING on the kept connection. One that is gone is opened anew, and only a failure of that is recorded."""
        sent_ns = self._clock.now_ns()
        if line.kept is None or not line.kept.open:
            line.kept = None
            opened = await dial(line.address, line.tongue, self._clock, LIMIT_S, lambda how: self._lost(line, how))
            if isinstance(opened, ProbeOutcome):
                self._row(line, Probe.PING, sent_ns, self._clock.now_ns(), opened, 0)
                return
            line.kept = opened
            sent_ns = self._clock.now_ns()
        answer = await line.kept.ask(line.tongue.ping, LIMIT_S)
        self._row(line, Probe.PING, sent_ns, answer.done_ns, answer.outcome, 0)

    def _lost(self, line: _Line, how: ProbeOutcome) -> None:
        """The kept connection was closed while nothing was asked: that is evidence of its own."""
        now_ns = self._clock.now_ns()
        self._row(line, Probe.PING, now_ns, now_ns, how, 0)

    async def _connect(self, line: _Line) -> None:
        while True:
            sent_ns = self._clock.now_ns()
            outcome, done_ns = await self._fresh(line, line.tongue.ping)
            self._row(line, Probe.CONNECT, sent_ns, done_ns, outcome, 0)
            await self._pace.pause(_CONNECT_S[line.path], _EDGE_CONNECT_S)

    async def _fresh(self, line: _Line, exchange: Exchange) -> tuple[ProbeOutcome, int]:
        opened = await dial(line.address, line.tongue, self._clock, LIMIT_S)
        if isinstance(opened, ProbeOutcome):
            return opened, self._clock.now_ns()
        try:
            answer = await opened.ask(exchange, LIMIT_S)
        finally:
            opened.close()
        return answer.outcome, answer.done_ns

    async def _bulk(self, line: _Line, stream: str) -> None:
        """Transfers on a connection of their own: the cap is one of each connection."""
        order, probe = self._orders[line.part, stream], _STREAMS[stream]
        kept: Wire | None = None
        while True:
            await order.wanted.wait()
            rate_kb_s = order.next_rate()
            if rate_kb_s <= 0:
                if kept is not None:
                    kept.close()
                kept = None
                continue
            try:
                kept = await self._transfer(line, probe, kept, rate_kb_s)
            except asyncio.CancelledError:
                if kept is not None:
                    kept.close()
                raise
            await self._pace.pause(_BULK_PAUSE_S, _BULK_PAUSE_S)

    async def _transfer(self, line: _Line, probe: Probe, kept: Wire | None, rate_kb_s: float) -> Wire | None:
        if kept is None or not kept.open:
            sent_ns = self._clock.now_ns()
            opened = await dial(line.address, line.tongue, self._clock, LIMIT_S)
            if isinstance(opened, ProbeOutcome):
                self._row(line, probe, sent_ns, self._clock.now_ns(), opened, 0)
                return None
            kept = opened
        size = round(min(max(rate_kb_s * 1_000 * _BULK_S, _BULK_BYTES_MIN), _BULK_BYTES_MAX))
        exchange = line.tongue.up(size) if probe is Probe.BULK_UP else line.tongue.down(size)
        sent_ns = self._clock.now_ns()
        answer = await kept.ask(exchange, LIMIT_S)
        moved = len(exchange.request) if probe is Probe.BULK_UP else answer.received
        self._row(line, probe, sent_ns, answer.done_ns, answer.outcome, moved)
        return kept

    def _row(self, line: _Line, probe: Probe, sent_ns: int, done_ns: int, outcome: ProbeOutcome, moved: int) -> None:
        self._record((self._parts.index(line.part), int(line.path), int(probe), sent_ns, done_ns, int(outcome), moved))
