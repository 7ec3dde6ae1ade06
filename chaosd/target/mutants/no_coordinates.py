"""Leaves out of its SYSTEM_ERRORs where the original record was: topic, partition and offset."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Unprocessable
from chaosd.target.reference.dlq import DeadLetters


class NoCoordinates(DeadLetters):
    """The reference's dead letters without their origin."""

    def data(self, record: ConsumerRecord, why: Unprocessable, value: bytes | None, now: datetime) -> dict[str, Any]:
        """What the SYSTEM_ERROR says."""
        right = super().data(record, why, value, now)
        about = right["dlq_metadata"]
        kept = {name: about[name] for name in about if name not in ("original_partition", "original_offset")}
        return {**right, "dlq_metadata": kept}


BUILD = Build(dead_letters=NoCoordinates)

if __name__ == "__main__":
    sys.exit(main(BUILD))
