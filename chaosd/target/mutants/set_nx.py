"""Takes `SET NX` for the answer to "was it seen?", with the client's own retries on.

When the answer is lost the client asks again, finds the mark it has just written itself, and the pipeline drops its own
event. A mark before the effect is wrong after a death as well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from redis.asyncio.retry import Retry as ClientRetry
from redis.backoff import ExponentialWithJitterBackoff

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.dedup import MARK_TTL_S, TRANSIENT, Dedup
from chaosd.target.reference.retry import Retry


class SetNx(Dedup):
    """Marks first, and asks with the same command."""

    def __init__(self, url: str, group: str, retry: Retry) -> None:
        super().__init__(url, group, retry)
        self._redis.set_retry(ClientRetry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 10))

    async def finished(self, names: Sequence[str]) -> list[bool]:
        """What could not be marked must have been seen before."""
        if not names:
            return []

        async def write() -> list[object]:
            async with self._redis.pipeline(transaction=False) as commands:
                for name in names:
                    commands.execute_command("SET", self._prefix + name, b"1", "NX", "EX", MARK_TTL_S)
                return list(await commands.execute())

        return [answer is None for answer in await self._retry.until_done("redis.set_nx", write, TRANSIENT)]

    async def mark(self, names: Sequence[str]) -> None:
        """They are marked already."""


BUILD = Build(dedup=SetNx)

if __name__ == "__main__":
    sys.exit(main(BUILD))
