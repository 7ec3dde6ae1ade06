"""What a testbed is, on disk: enough for another process to signal, start and tear down everything in it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from chaosd.kernel.errors import StackError
from chaosd.process.spawn import Handle, Recipe

FILE = "testbed.json"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the run; `role` is input, output or dlq."""

    name: str
    role: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Record:
    """`marker` is in the environment of every process of the testbed, `owner` the process whose death ends it.

    Without an owner a kept testbed stays until `chaosd stack down`.
    """

    name: str
    marker: str
    provider: str
    kept: bool
    owner: Handle | None = None
    target: str = ""
    group: str = ""
    topics: tuple[Topic, ...] = ()
    recipe: Recipe | None = None
    handle: Handle | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def with_target(self, handle: Handle) -> Record:
        """The same testbed with another process of the target."""
        return replace(self, handle=handle)


def save(directory: Path, record: Record) -> None:
    """Write the record so that a reader sees the old one or the new one, never a half."""
    target = directory / FILE
    scratch = target.with_suffix(f".{os.getpid()}.tmp")
    with scratch.open("w", encoding="utf-8") as out:
        json.dump(asdict(record), out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(target)


def load(directory: Path) -> Record:
    """Read the record; StackError when the directory holds no testbed."""
    try:
        raw = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StackError(f"no testbed in {directory}: {error}", remedy="see `chaosd stack status`") from error
    return Record(
        name=raw["name"],
        marker=raw["marker"],
        provider=raw["provider"],
        kept=raw["kept"],
        owner=_handle(raw["owner"]),
        target=raw["target"],
        group=raw["group"],
        topics=tuple(Topic(**topic) for topic in raw["topics"]),
        recipe=Recipe.from_json(raw["recipe"]) if raw["recipe"] else None,
        handle=_handle(raw["handle"]),
        extra=raw["extra"],
    )


def _handle(raw: dict[str, int] | None) -> Handle | None:
    return Handle(**raw) if raw else None
