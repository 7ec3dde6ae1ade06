"""One connection of a canary: a request at a time, its end named and timed, nothing retried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from chaosd.journal.probes import ProbeOutcome
from chaosd.kernel.clock import Clock
from chaosd.stack.address import Address
from chaosd.testbed.tongues import Exchange, Tongue

# How a probe ends, by what its socket says; the first that fits. What is not here is no error of a socket.
_OUTCOMES: tuple[tuple[type[BaseException], ProbeOutcome], ...] = (
    (TimeoutError, ProbeOutcome.TIMEOUT),
    (ConnectionRefusedError, ProbeOutcome.REFUSED),
    (ConnectionResetError, ProbeOutcome.RESET),
    (BrokenPipeError, ProbeOutcome.RESET),
    (OSError, ProbeOutcome.ERROR),
)


def classify(error: BaseException | None) -> ProbeOutcome:
    """The outcome for a socket's error; None is a connection that the other side closed in good order."""
    if error is None:
        return ProbeOutcome.EOF
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), ProbeOutcome.ERROR)


@dataclass(frozen=True, slots=True)
class Answer:
    """How an exchange ended, when, and how many bytes had come."""

    outcome: ProbeOutcome
    done_ns: int
    received: int = 0


class Wire(asyncio.Protocol):
    """A connection. `on_lost` is called with the outcome when it is closed while nothing is asked."""

    def __init__(self, clock: Clock, on_lost: Callable[[ProbeOutcome], None] | None = None) -> None:
        self._clock = clock
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._received = 0
        self._exchange: Exchange | None = None
        self._end: asyncio.Future[Answer] | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a canary speaks over TCP")
        self._transport = transport
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Called by the loop. The time is taken here, not when the waiting task gets its turn."""
        self._buffer += data
        self._received += len(data)
        if self._exchange is None or self._transport is None:
            return
        said = self._exchange.step(self._buffer)
        if isinstance(said, bool):
            self._finish(ProbeOutcome.OK if said else ProbeOutcome.ERROR)
        elif said is not None:
            self._transport.write(said)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.open = False
        if self._end is not None and not self._end.done():
            self._finish(classify(exc))
        elif self._on_lost is not None:
            self._on_lost(classify(exc))

    def _finish(self, outcome: ProbeOutcome) -> None:
        self._exchange = None
        if self._end is not None and not self._end.done():
            self._end.set_result(Answer(outcome, self._clock.now_ns(), self._received))

    async def ask(self, exchange: Exchange, limit_s: float) -> Answer:
        """Say the request and wait for the whole answer, for at most `limit_s`; a connection without one is closed.

        An answer that came while this process was held up counts as an answer, not as a time-out.
        """
        loop = asyncio.get_running_loop()
        self._buffer.clear()
        self._received = 0
        self._exchange = exchange
        self._end = loop.create_future()
        if self._transport is None or not self.open:
            return Answer(ProbeOutcome.EOF, self._clock.now_ns())
        timer = loop.call_later(limit_s, self._finish, ProbeOutcome.TIMEOUT)
        try:
            self._transport.write(exchange.request)
            answer = await self._end
        finally:
            timer.cancel()
        if answer.outcome is not ProbeOutcome.OK:
            self.close()
        return answer

    @property
    def said(self) -> bytes:
        """What the other side has said since the last request."""
        return bytes(self._buffer)

    async def end(self, limit_s: float) -> Answer:
        """Close our side in good order and wait until the other side is closed, too: EOF, for at most `limit_s`."""
        loop = asyncio.get_running_loop()
        self._exchange = None
        self._received = 0
        self._end = loop.create_future()
        if self._transport is None or not self.open:
            return Answer(ProbeOutcome.EOF, self._clock.now_ns())
        timer = loop.call_later(limit_s, self._finish, ProbeOutcome.TIMEOUT)
        try:
            self._transport.write_eof()
            return await self._end
        finally:
            timer.cancel()

    def close(self) -> None:
        """Drop the connection without another word to anybody."""
        self._on_lost = None
        self.open = False
        if self._transport is not None:
            self._transport.abort()


async def dial(
    address: Address,
    tongue: Tongue,
    clock: Clock,
    limit_s: float,
    on_lost: Callable[[ProbeOutcome], None] | None = None,
) -> Wire | ProbeOutcome:
    """A fresh connection, greeted; or how that failed. Bounded by `limit_s`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + limit_s
    try:
        async with asyncio.timeout_at(until):
            _, wire = await loop.create_connection(lambda: Wire(clock, on_lost), address.host, address.port)
    except OSError as error:
        return classify(error)
    if tongue.greet is None:
        return wire
    try:
        answer = await wire.ask(tongue.greet(), max(0.0, until - loop.time()))
    except asyncio.CancelledError:
        wire.close()
        raise
    return wire if answer.outcome is ProbeOutcome.OK else answer.outcome
