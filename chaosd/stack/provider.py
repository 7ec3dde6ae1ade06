"""The port of every provider: how a stack comes to be and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaosd.stack.ports import Ports
    from chaosd.stack.stack import Stack


class Provider(Protocol):
    """Makes stacks of one kind."""

    @property
    def name(self) -> str:
        """As in `--stack`."""
        ...

    async def up(
        self,
        folder: Path,
        marker: str,
        ports: Ports | None = None,
        on_progress: Callable[[str, float], None] | None = None,
    ) -> Stack:
        """Bring a stack up, its record in `folder`. Whatever fails, nothing of it is left. Raises StackError."""
        ...

    async def down(self, stack: Stack) -> None:
        """End what `up` started, and remove what it wrote. Idempotent."""
        ...
