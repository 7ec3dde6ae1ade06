"""Marks of finished records in Redis: what was finished is not done again when Kafka delivers it again."""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio as redis
from redis.asyncio.retry import Retry as ClientRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chaosd.target.reference.retry import Retry

TRANSIENT = (RedisError, OSError, TimeoutError)
_ANSWER_TIMEOUT_S = 3.0
_CONNECT_TIMEOUT_S = 1.0
# Longer than any outage after which Kafka may deliver a record again.
MARK_TTL_S = 900


class Dedup:
    """A mark per finished record, written after all of its effects, so that a mark always tells the truth.

    The client's own retries are off: redis-py repeats a write whose answer was lost; the pipeline retries whole steps.
    """

    def __init__(self, url: str, group: str, retry: Retry) -> None:
        self._redis = redis.from_url(
            url,
            retry=ClientRetry(NoBackoff(), 0),
            socket_timeout=_ANSWER_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            max_connections=4,
        )
        self._prefix = f"done:{group}:"
        self._retry = retry

    async def finished(self, names: Sequence[str]) -> list[bool]:
        """For each name whether it carries a mark."""
        if not names:
            return []
        keys = [self._prefix + name for name in names]

        async def read() -> list[bytes | str | None]:
            return await self._redis.mget(keys)

        return [mark is not None for mark in await self._retry.until_done("redis.mget", read, TRANSIENT)]

    async def mark(self, names: Sequence[str]) -> None:
        """Mark the names as finished, for `MARK_TTL_S`."""
        if not names:
            return

        async def write() -> None:
            async with self._redis.pipeline(transaction=False) as commands:
                for name in names:
                    commands.execute_command("SET", self._prefix + name, b"1", "EX", MARK_TTL_S)
                await commands.execute()

        await self._retry.until_done("redis.set", write, TRANSIENT)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
