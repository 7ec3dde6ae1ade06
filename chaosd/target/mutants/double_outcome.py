"""Files what merely looks odd as an error, beside its result: one tick in fifty ends in the output and in the DLQ."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Tick, Unprocessable
from chaosd.target.reference.pipeline import Pipeline

_ODD = Unprocessable("OddVolume", "the volume looks odd", "somebody should look at it")


class DoubleOutcome(Pipeline):
    """The reference, with a dead letter for ticks that were answered."""

    async def process(self, records: Sequence[ConsumerRecord]) -> None:
        """Process, then complain."""
        await super().process(records)
        works = [work for record in records if (work := self.read(record)) is not None]
        odd = [work for work in works if isinstance(work.result, Tick) and work.result.data.volume % 50 == 0]
        await self.parts.outbox.send([self.parts.dead_letters.letter(work.record, _ODD) for work in odd])


BUILD = Build(pipeline=DoubleOutcome)

if __name__ == "__main__":
    sys.exit(main(BUILD))
