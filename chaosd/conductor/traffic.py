"""Commands the run's traffic: cuts the open-loop schedule into Segments, journals each before anyone acts on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

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

    @property
    def envelopes(self) -> int:
        """Envelopes scheduled so far."""
        return self._next

    async def add(self, phase: str, count: int, interval_ns: int, *, poison: bool = True) -> Segment:
        """Schedule `count` envelopes right after what is scheduled, but never in the past."""
        start_ns = max(self.end_ns, self._clock.now_ns() + LEAD_NS)
        segment = Segment(
            index=self._index,
            phase=phase,
            first=self._next,
            count=count,
            start_ns=start_ns,
            interval_ns=interval_ns,
            streams=self._traffic.streams,
            poison=self._traffic.poison if poison else (),
        )
        self._facts.append("segment", **asdict(segment))
        self._index += 1
        self._next += count
        self.end_ns = start_ns + count * interval_ns
        await self._send({"cmd": "segment", **asdict(segment)})
        return segment

    async def steady(self, phase: str, duration_ns: int) -> Segment:
        """Schedule `duration_ns` of traffic at the experiment's rate."""
        interval_ns = round(SECOND / self._traffic.rate_hz)
        return await self.add(phase, max(1, round(duration_ns / interval_ns)), interval_ns)

    async def burst(self, count: int, rate_hz: float) -> Segment:
        """Schedule the capacity burst: more than the pipeline can take, and no poison in it."""
        return await self.add("burst", count, round(SECOND / rate_hz), poison=False)

    async def fence(self) -> Segment:
        """Schedule one ordinary last envelope per stream, which reaches every partition that carried traffic."""
        return await self.add("fence", self._traffic.streams, MS, poison=False)
