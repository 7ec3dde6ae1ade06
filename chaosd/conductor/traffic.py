"""Commands the run's traffic: cuts the open-loop schedule into Segments, journals each before anyone acts on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from chaosd.conductor.overlays import Overlays
from chaosd.experiment.overlays import Mix
from chaosd.experiment.plan import Segment
from chaosd.experiment.spec import Traffic
from chaosd.journal.write import Facts
from chaosd.kernel.clock import MS, SECOND, Clock

# A segment must reach generator and tap before its first envelope is due.
LEAD_NS = 150 * MS
# Fault phases are sent in pieces of this length, so that their end can follow the last heal.
PIECE_NS = SECOND

Send = Callable[[dict[str, object]], Awaitable[None]]


class Schedule:
    """The contiguous schedule of a run. `end_ns` is where the next segment would start."""

    def __init__(self, traffic: Traffic, facts: Facts, clock: Clock, send: Send) -> None:
        self._traffic = traffic
        self._facts = facts
        self._clock = clock
        self._send = send
        self._index = 0
        self._next = 0
        self.end_ns = 0
        self.overlays = Overlays(traffic, facts)

    @property
    def envelopes(self) -> int:
        """Envelopes scheduled so far."""
        return self._next

    @property
    def _start_ns(self) -> int:
        """Where the next segment starts: right after what is scheduled, but never in the past."""
        return max(self.end_ns, self._clock.now_ns() + LEAD_NS)

    async def add(
        self, phase: str, count: int, interval_ns: int, mix: Mix | None = None, *, start_ns: int = 0
    ) -> Segment:
        """Schedule `count` envelopes, none of them spoiled without a `mix`, right after what is scheduled."""
        start_ns = start_ns or self._start_ns
        segment = Segment(
            index=self._index,
            phase=phase,
            first=self._next,
            count=count,
            start_ns=start_ns,
            interval_ns=interval_ns,
            streams=self._traffic.streams,
            poison=mix.poison if mix else (),
            duplicates=mix.duplicates if mix else 0.0,
        )
        self._facts.append("segment", **asdict(segment))
        self._index += 1
        self._next += count
        self.end_ns = start_ns + count * interval_ns
        await self._send({"cmd": "segment", **asdict(segment)})
        return segment

    async def steady(self, phase: str, duration_ns: int) -> Segment:
        """Schedule `duration_ns` of traffic, at the experiment's rate but for what is laid over it.

        A piece ends where the next one is made of something else; gives the last one.
        """
        until_ns = self._start_ns + duration_ns
        while True:
            start_ns = self._start_ns
            mix, edge_ns = self.overlays.at(start_ns), self.overlays.edge_ns(start_ns)
            interval_ns = round(SECOND / mix.rate_hz)
            count = round((until_ns - start_ns) / interval_ns)
            if edge_ns is not None and edge_ns < until_ns:
                # The first envelope at or after the edge belongs to the next piece.
                count = -((start_ns - edge_ns) // interval_ns)
            self.overlays.scheduled(start_ns)
            segment = await self.add(phase, max(1, count), interval_ns, mix, start_ns=start_ns)
            if self.end_ns >= until_ns - interval_ns:
                return segment

    async def burst(self, count: int, rate_hz: float) -> Segment:
        """Schedule the capacity burst: more than the pipeline can take, and no poison in it."""
        return await self.add("burst", count, round(SECOND / rate_hz))

    async def fence(self) -> Segment:
        """Schedule one ordinary last envelope per stream, which reaches every partition that carried traffic."""
        return await self.add("fence", self._traffic.streams, MS)
