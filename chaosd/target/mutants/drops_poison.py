"""Swallows what it cannot read: `except ValueError: pass`, and no SYSTEM_ERROR ever."""

from __future__ import annotations

import sys

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Unprocessable
from chaosd.target.reference.pipeline import Pipeline, Work


class DropsPoison(Pipeline):
    """The reference, but it skips what it cannot process."""

    def read(self, record: ConsumerRecord) -> Work | None:
        """Nothing where an error belongs."""
        work = super().read(record)
        return None if work is None or isinstance(work.result, Unprocessable) else work


BUILD = Build(pipeline=DropsPoison)

if __name__ == "__main__":
    sys.exit(main(BUILD))
