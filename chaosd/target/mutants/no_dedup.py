"""Remembers nothing of what it has finished: whatever Kafka delivers again comes out again.

It commits rarely, as auto-commit does. That alone would be right: at least once, and the marks do the rest.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from aiokafka import TopicPartition

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.dedup import Dedup
from chaosd.target.reference.source import Source

_COMMIT_EVERY_S = 10.0


class NoMarks(Dedup):
    """Asks Redis for nothing but a sign of life."""

    async def finished(self, names: Sequence[str]) -> list[bool]:
        """Nothing was ever finished."""
        await super().finished(names)
        return [False] * len(names)


class CommitsRarely(Source):
    """Commits when there is nothing to do, or after ten seconds."""

    _committed_s = 0.0

    async def finish(self, offsets: dict[TopicPartition, int]) -> None:
        """Keep the offsets for later."""
        self._finished.update(offsets)
        idle, now_s = not offsets, time.monotonic()
        if idle or now_s - self._committed_s > _COMMIT_EVERY_S:
            self._committed_s = now_s
            await super().finish({})


BUILD = Build(source=CommitsRarely, dedup=NoMarks)

if __name__ == "__main__":
    sys.exit(main(BUILD))
