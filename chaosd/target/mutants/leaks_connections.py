"""Opens five connections to Redis in a second of work and closes none before its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import redis.asyncio as redis

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.dedup import Dedup
from chaosd.target.reference.retry import Retry

_EVERY_S = 0.2


class LeaksConnections(Dedup):
    """The reference's marks, with a client of its own for whoever asks."""

    def __init__(self, url: str, group: str, retry: Retry) -> None:
        super().__init__(url, group, retry)
        self._url = url
        self._clients: list[redis.Redis] = []
        self._last_s = 0.0

    async def mark(self, names: Sequence[str]) -> None:
        """Mark the names as finished, and leave a connection behind."""
        await super().mark(names)
        now_s = time.monotonic()
        if now_s - self._last_s >= _EVERY_S:
            self._last_s = now_s
            client = redis.from_url(self._url, socket_timeout=1.0)
            self._clients.append(client)
            await client.ping()

    async def close(self) -> None:
        """Only now."""
        await super().close()
        for client in self._clients:
            await client.aclose()


BUILD = Build(dedup=LeaksConnections)

if __name__ == "__main__":
    sys.exit(main(BUILD))
