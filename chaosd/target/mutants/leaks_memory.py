"""Keeps everything it has ever read: twenty kilobytes more for each record, and never less."""

from __future__ import annotations

import sys

from aiokafka import ConsumerRecord

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.pipeline import Parts, Pipeline, Work

_KEPT_BYTES = 20_000


class LeaksMemory(Pipeline):
    """The reference with a cache that nobody ever empties."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._kept: list[bytearray] = []

    def read(self, record: ConsumerRecord) -> Work | None:
        """What is in the record, and a copy for ever."""
        self._kept.append(bytearray(record.value or b"").ljust(_KEPT_BYTES, b"."))
        return super().read(record)


BUILD = Build(pipeline=LeaksMemory)

if __name__ == "__main__":
    sys.exit(main(BUILD))
