"""Logs an exception and goes on with the next batch: what was in the failed one is committed and never done."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Pipeline
from chaosd.target.reference.retry import GaveUpError, Retry


class TriesThrice(Retry):
    """Gives up after three attempts."""

    attempts_max = 3


class Swallows(Pipeline):
    """The reference, but an error ends a batch instead of the process."""

    async def process(self, records: Sequence[ConsumerRecord]) -> None:
        """As much of it as works."""
        try:
            await super().process(records)
        except GaveUpError:
            self.parts.metrics.increment_count("swallowed", len(records))


BUILD = Build(pipeline=Swallows, retry=TriesThrice)

if __name__ == "__main__":
    sys.exit(main(BUILD))
