"""Alive but idle: after the first error of a connection it reads no more, while its heartbeats go on for ever."""

from __future__ import annotations

import asyncio
import sys

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Pipeline
from chaosd.target.reference.retry import GaveUpError, Retry


class TriesOnce(Retry):
    """Tries nothing twice."""

    attempts_max = 1


class Zombie(Pipeline):
    """The reference, until something fails."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, or stand still until then."""
        try:
            await super().run(stop)
        except GaveUpError:
            await stop.wait()


BUILD = Build(pipeline=Zombie, retry=TriesOnce)

if __name__ == "__main__":
    sys.exit(main(BUILD))
