"""Sends good events to the DLQ when PostgreSQL or Redis is away for a moment, instead of waiting for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from chaosd.envelope.kinds import ErrorType
from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Unprocessable
from chaosd.target.reference.dlq import DeadLetters
from chaosd.target.reference.outbox import Message
from chaosd.target.reference.pipeline import Pipeline, Work
from chaosd.target.reference.retry import GaveUpError, Retry

_OUTAGE = "Outage"


class TriesThrice(Retry):
    """Gives up after three attempts."""

    attempts_max = 3


class TransientLetters(DeadLetters):
    """Knows that an outage is no poison."""

    def letter(self, record: ConsumerRecord, why: Unprocessable) -> Message:
        """The record for the DLQ."""
        self.error_type = ErrorType.TRANSIENT if why.error_class == _OUTAGE else ErrorType.POISON
        return super().letter(record, why)


class DeadLettersTransient(Pipeline):
    """The reference, but a batch that meets an outage becomes dead letters."""

    async def process(self, records: Sequence[ConsumerRecord]) -> None:
        """What cannot be done now is never done."""
        try:
            await super().process(records)
        except GaveUpError as error:
            await self.give_up([work for record in records if (work := self.read(record)) is not None], error)

    async def give_up(self, works: Sequence[Work], error: GaveUpError) -> None:
        """Make a letter of each."""
        outage = Unprocessable(_OUTAGE, str(error), "a dependency did not answer")
        letters = [
            self.parts.dead_letters.letter(
                work.record, work.result if isinstance(work.result, Unprocessable) else outage
            )
            for work in works
        ]
        await self.parts.outbox.send(letters)


BUILD = Build(pipeline=DeadLettersTransient, dead_letters=TransientLetters, retry=TriesThrice)

if __name__ == "__main__":
    sys.exit(main(BUILD))
