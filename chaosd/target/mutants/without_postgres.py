"""Correct, but it does not use PostgreSQL: a fault on PostgreSQL proves nothing about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Tick
from chaosd.target.reference.retry import Retry
from chaosd.target.reference.store import Totals


class NoStore:
    """Records nothing."""

    def __init__(self, url: str, retry: Retry) -> None:
        """Takes what PostgresStore takes, and connects to nothing."""

    async def record(self, ticks: Sequence[Tick]) -> list[Totals]:
        """No totals change."""
        return []

    def abort(self) -> None:
        """There is nothing to give up."""


BUILD = Build(store=NoStore)

if __name__ == "__main__":
    sys.exit(main(BUILD))
