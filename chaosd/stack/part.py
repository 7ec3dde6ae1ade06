"""The value Part: how to ask a server, in its own protocol, whether it serves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from chaosd.stack.address import Address

PROBE_S = 1.0  # one attempt; a server that needs longer is not ready


class Certainty(StrEnum):
    """Whether a failed request certainly had no effect, or may have had one."""

    DEFINITE = "definite"
    INDETERMINATE = "indeterminate"


class NotReady(Exception):
    """The server answered, and says that it does not serve yet; or it answered something else than its protocol."""


def nothing_to_clear(data: Path) -> None:
    """Most servers start on what a killed one left."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of server.

    `ready`: one bounded attempt; gives the version the server tells ("" if it tells none), raises NotReady, OSError or
    TimeoutError. `round_trip`: one request and its answer on a fresh connection, the same errors. `stop`: the signal
    that ends it in good order, clients or not. `clear`: called with its data folder before a start, when none of its
    processes is left; removes what a killed one left there that would keep the next one from starting.
    """

    name: str
    ready: Callable[[Address], Awaitable[str]]
    round_trip: Callable[[Address], Awaitable[None]]
    stop: signal.Signals = signal.SIGTERM
    clear: Callable[[Path], None] = nothing_to_clear


def classify(error: BaseException) -> Certainty:
    """A refused connection carried nothing. Everything else may have cut the answer to a request that was served."""
    return Certainty.DEFINITE if isinstance(error, ConnectionRefusedError) else Certainty.INDETERMINATE


@asynccontextmanager
async def connection(
    address: Address, limit_s: float = PROBE_S
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection for one probe. Everything inside is bounded by `limit_s`; a cut stream raises NotReady."""
    async with asyncio.timeout(limit_s):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            yield reader, writer
        except asyncio.IncompleteReadError as error:
            raise NotReady(f"{address} closed the connection") from error
        finally:
            # abort: a probe must not wait for a peer that has stopped reading.
            writer.transport.abort()
