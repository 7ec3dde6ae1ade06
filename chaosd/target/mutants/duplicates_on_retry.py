"""Answers before it stores, and does both again when the store fails: every retry is another result."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Pipeline
from chaosd.target.reference.retry import GaveUpError, Retry


class TriesOnce(Retry):
    """Leaves the second attempt to the whole batch."""

    attempts_max = 1


class AnswersFirst(Pipeline):
    """The reference, with its steps in the wrong order inside one retry."""

    async def process(self, records: Sequence[ConsumerRecord]) -> None:
        """Answer and store until both have worked."""
        works = {work.name: work for record in records if (work := self.read(record)) is not None}
        while True:
            try:
                finished = await self.parts.dedup.finished(list(works))
                fresh = [work for work, done in zip(works.values(), finished, strict=True) if not done]
                await self.parts.outbox.send([self.message(work) for work in fresh])
                await self.store(fresh)
                await self.parts.dedup.mark([work.name for work in fresh])
            except GaveUpError:
                continue
            return


BUILD = Build(pipeline=AnswersFirst, retry=TriesOnce)

if __name__ == "__main__":
    sys.exit(main(BUILD))
