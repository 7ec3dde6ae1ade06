"""Sends by four workers that share the messages among them without looking at keys: the order within a key is lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.outbox import Message, Outbox

_WORKERS = 4
_EACH_LATER_S = 0.005


class Concurrent(Outbox):
    """The reference's outbox behind a pool of workers, of which no two are equally quick."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Send all; returns when the slowest worker has."""
        async with asyncio.TaskGroup() as group:
            for worker in range(_WORKERS):
                group.create_task(self._work(messages[worker::_WORKERS], (_WORKERS - 1 - worker) * _EACH_LATER_S))

    async def _work(self, messages: Sequence[Message], pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        await super().send(messages)


BUILD = Build(outbox=Concurrent)

if __name__ == "__main__":
    sys.exit(main(BUILD))
