"""The canaries: small probes of chaosd's own, DIRECT and through the proxies, which show what a fault does to a path.

They run in the conductor and cost it about a hundredth of a core; a probe gives up after a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from chaosd.journal.probes import Path, Probe, ProbeOutcome
from chaosd.kernel import names
from chaosd.kernel.clock import Clock
from chaosd.kernel.proof import Proof, Relation, Source
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

# Usually, and around the edge of a fault. The DIRECT ones say whether a part is well, which takes a second of failures
# (verification/health.py) and no edge.
_PING_S = {Path.PROXIED: (0.5, 0.05), Path.DIRECT: (0.25, 0.25)}
_CONNECT_S = {Path.PROXIED: (2.0, 0.5), Path.DIRECT: (4.0, 4.0)}
# Where a delay moves: each of its steps cuts the probe short that is under way, so most of them must lie in between.
_MOVING_S = 0.05
# A bulk transfer takes about this long under the cap, and the next one follows after a pause.
_BULK_S = 0.3
_BULK_PAUSE_S = 0.25
_BULK_BYTES_MIN = 300
_BULK_BYTES_MAX = 1_000_000
_FEW = 2
_STREAMS = {"upstream": Probe.BULK_UP, "downstream": Probe.BULK_DOWN}
_ON_DEMAND = (Probe.BULK_UP, Probe.BULK_DOWN, Probe.CLOSE)


@dataclass(slots=True)
class _Line:
    """One way to one part, and the connection that is kept on it for pings."""

    part: str
    path: Path
    address: Address
    tongue: Tongue
    kept: Wire | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Probes made only for the sake of a proof. `size_bytes` is what a transfer moves, 0 for CLOSE and PING."""

    part: str
    probe: Probe
    size_bytes: int


def asked_by(proof: Proof) -> tuple[Asked, ...]:
    """What a proof needs beside the pings and connects that are always made."""
    part = proof.on
    if proof.source is Source.CLOSE_MS:
        return (Asked(part, Probe.CLOSE, 0),)
    if proof.relation is Relation.MOVES_BY and proof.source is Source.ROUND_TRIP_MS:
        return (Asked(part, Probe.PING, 0),)
    if proof.source is Source.RATE_KB_S:
        # A rate that may well be lower than the amount: the transfer still ends before a probe gives up.
        lasts_s = _BULK_S if proof.relation is Relation.NEAR else _BULK_S / 2
        size = proof.amount * 1_000 * lasts_s
    elif proof.source is Source.BULK_OUTCOME:
        size = proof.amount
    else:
        return ()
    size_bytes = round(min(max(size, _BULK_BYTES_MIN), _BULK_BYTES_MAX))
    return tuple(Asked(part, _STREAMS[name], size_bytes) for name in _STREAMS if proof.stream in (name, "both", ""))


@dataclass(slots=True)
class _Order:
    """What is wanted of one kind of probe on one part: as long as it is `wanted`, and each of `few` once."""

    wanted: list[Asked] = field(default_factory=list)
    few: deque[Asked] = field(default_factory=deque)
    some: asyncio.Event = field(default_factory=asyncio.Event)

    def next(self) -> Asked | None:
        """The next one to make; None when none is wanted."""
        if self.few:
            return self.few.popleft()
        if self.wanted:
            return self.wanted[-1]
        self.some.clear()
        return None


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
        self._orders = {(part, probe): _Order() for part in self._parts for probe in (Probe.PING, *_ON_DEMAND)}

    def edge(self) -> None:
        """A fault begins or ends about now: probe more often for a second."""
        self._pace.edge()

    def begin(self, asked: Asked) -> None:
        """Make these probes again and again, until `end`."""
        for order in self._chosen(asked):
            order.wanted.append(asked)
            order.some.set()

    def end(self, asked: Asked) -> None:
        """Make them no more."""
        for order in self._chosen(asked):
            if asked in order.wanted:
                order.wanted.remove(asked)

    def few(self, asked: Asked) -> None:
        """Make a few of them now: before a fault, to have something to compare with, and after its heal."""
        if asked.probe is Probe.PING:  # those are always made
            return
        for order in self._chosen(asked):
            order.few.extend([asked] * _FEW)
            order.some.set()

    def _chosen(self, asked: Asked) -> list[_Order]:
        return [self._orders[one, asked.probe] for one in names.members(self._parts, asked.part)]

    async def run(self) -> None:
        """Probe until cancelled; all connections are closed then."""
        try:
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    group.create_task(self._ping(line), name=f"ping {line.part} {line.path.name}")
                    group.create_task(self._connect(line), name=f"connect {line.part} {line.path.name}")
                for line in self._lines:
                    if line.path is Path.PROXIED:
                        for probe in _ON_DEMAND:
                            group.create_task(self._on_demand(line, probe), name=f"{probe.name} {line.part}")
        finally:
            for line in self._lines:
                if line.kept is not None:
                    line.kept.close()

    async def _ping(self, line: _Line) -> None:
        order = self._orders[line.part, Probe.PING]
        while True:
            await self._ping_once(line)
            usual_s, near_s = _PING_S[line.path]
            moving = line.path is Path.PROXIED and order.wanted
            await self._pace.pause(_MOVING_S if moving else usual_s, near_s)

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
        """The kept connection was closed while nothing was asked: that is evidence of its own, and an edge."""
        self._pace.edge()
        now_ns = self._clock.now_ns()
        self._row(line, Probe.PING, now_ns, now_ns, how, 0)

    async def _connect(self, line: _Line) -> None:
        while True:
            sent_ns = self._clock.now_ns()
            outcome, done_ns = await self._fresh(line, line.tongue.ping)
            self._row(line, Probe.CONNECT, sent_ns, done_ns, outcome, 0)
            await self._pace.pause(*_CONNECT_S[line.path])

    async def _fresh(self, line: _Line, exchange: Exchange) -> tuple[ProbeOutcome, int]:
        opened = await dial(line.address, line.tongue, self._clock, LIMIT_S)
        if isinstance(opened, ProbeOutcome):
            return opened, self._clock.now_ns()
        try:
            answer = await opened.ask(exchange, LIMIT_S)
        finally:
            opened.close()
        return answer.outcome, answer.done_ns

    async def _on_demand(self, line: _Line, probe: Probe) -> None:
        """Transfers on a connection of their own: a cap is one of each connection. Closes each on a fresh one."""
        order = self._orders[line.part, probe]
        kept: Wire | None = None
        try:
            while True:
                await order.some.wait()
                asked = order.next()
                if asked is None:
                    _drop(kept)
                    kept = None
                    continue
                if probe is Probe.CLOSE:
                    await self._close(line)
                else:
                    kept = await self._transfer(line, asked, kept)
                await self._pace.pause(_BULK_PAUSE_S, _BULK_PAUSE_S)
        finally:
            _drop(kept)

    async def _transfer(self, line: _Line, asked: Asked, kept: Wire | None) -> Wire | None:
        if kept is None or not kept.open:
            sent_ns = self._clock.now_ns()
            opened = await dial(line.address, line.tongue, self._clock, LIMIT_S)
            if isinstance(opened, ProbeOutcome):
                self._row(line, asked.probe, sent_ns, self._clock.now_ns(), opened, 0)
                return None
            kept = opened
        up = asked.probe is Probe.BULK_UP
        exchange = line.tongue.up(asked.size_bytes) if up else line.tongue.down(asked.size_bytes)
        sent_ns = self._clock.now_ns()
        answer = await kept.ask(exchange, LIMIT_S)
        moved = len(exchange.request) if up else answer.received
        self._row(line, asked.probe, sent_ns, answer.done_ns, answer.outcome, moved)
        return kept

    async def _close(self, line: _Line) -> None:
        """Close our side of a fresh connection, and see when the other side is closed as well: then it is OK."""
        sent_ns = self._clock.now_ns()
        opened = await dial(line.address, line.tongue, self._clock, LIMIT_S)
        if isinstance(opened, ProbeOutcome):
            self._row(line, Probe.CLOSE, sent_ns, self._clock.now_ns(), opened, 0)
            return
        try:
            sent_ns = self._clock.now_ns()
            answer = await opened.end(LIMIT_S)
        finally:
            opened.close()
        outcome = ProbeOutcome.OK if answer.outcome is ProbeOutcome.EOF else answer.outcome
        self._row(line, Probe.CLOSE, sent_ns, answer.done_ns, outcome, 0)

    def _row(self, line: _Line, probe: Probe, sent_ns: int, done_ns: int, outcome: ProbeOutcome, moved: int) -> None:
        self._record((self._parts.index(line.part), int(line.path), int(probe), sent_ns, done_ns, int(outcome), moved))


def _drop(kept: Wire | None) -> None:
    """Close a connection, if there is one."""
    if kept is not None:
        kept.close()
