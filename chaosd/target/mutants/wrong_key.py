"""Sends its results under the key of the exchange instead of the symbol: they land on other partitions."""

from __future__ import annotations

import sys
from dataclasses import replace

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Tick
from chaosd.target.reference.outbox import Message
from chaosd.target.reference.pipeline import Pipeline, Work


class WrongKey(Pipeline):
    """The reference, but its answers are keyed by the broker they came from."""

    def message(self, work: Work) -> Message:
        """What the record becomes."""
        right = super().message(work)
        return replace(right, key=work.result.envelope.broker.encode()) if isinstance(work.result, Tick) else right


BUILD = Build(pipeline=WrongKey)

if __name__ == "__main__":
    sys.exit(main(BUILD))
