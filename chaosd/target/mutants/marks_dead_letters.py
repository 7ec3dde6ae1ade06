"""Marks as finished what it makes a dead letter of, and takes the letter that is sent back for a duplicate.

It makes letters of good events as a pipeline does that does not wait for an outage to end. That alone would be right
where they are sent back afterwards: the letters say that they may be.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from chaosd.target.mutants.dead_letters_transient import DeadLettersTransient, TransientLetters, TriesThrice
from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Work
from chaosd.target.reference.retry import GaveUpError


class MarksDeadLetters(DeadLettersTransient):
    """A letter is the end of an event."""

    async def give_up(self, works: Sequence[Work], error: GaveUpError) -> None:
        """Make a letter of each, and never look at it again."""
        await super().give_up(works, error)
        await self.parts.dedup.mark([work.name for work in works])


BUILD = Build(pipeline=MarksDeadLetters, dead_letters=TransientLetters, retry=TriesThrice)

if __name__ == "__main__":
    sys.exit(main(BUILD))
