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
INTERNAL = "internal"  # the role of a topic between services
OWN = "embedded"  # the provider whose servers are processes of chaosd


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the run; `role` is input, output, dlq or internal. `ours`: chaosd made it, and deletes it.

    Of a `compacted` one the broker removes records that have a younger one of their key.
    """

    name: str
    role: str
    partitions: int
    ours: bool = True
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Replica:
    """One process of the target: `target` where there is one, else `target/0` and so on; of a target file's
    services `target/billing`, `target/billing/0` and so on.

    Of a target file's: `ready` as target/ready.py reads it (None: one of chaosd's own), `restart_ns` after its end, and
    `log_from`, where in its log the words of its present process begin.
    """

    name: str
    recipe: Recipe
    handle: Handle | None = None
    ready: dict[str, str] | None = None
    restart_ns: int | None = None
    log_from: int = 0


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
    replicas: tuple[Replica, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def seen(self) -> tuple[Topic, ...]:
        """The topics that are read and judged, in the order that rows of the journal index."""
        return tuple(topic for topic in self.topics if topic.role != INTERNAL)

    def replica(self, name: str) -> Replica | None:
        """One process of the target by its name; None when there is none of this name."""
        return next((replica for replica in self.replicas if replica.name == name), None)

    def with_handle(self, name: str, handle: Handle, log_from: int = 0) -> Record:
        """The same testbed with another process behind one replica of the target, whose log was so long before it."""
        return replace(
            self,
            replicas=tuple(
                replace(one, handle=handle, log_from=log_from) if one.name == name else one for one in self.replicas
            ),
        )


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
    try:
        return _parse(raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise StackError(
            f"the testbed in {directory} is of another version of chaosd: {error!r}",
            remedy=f"`chaosd stack down {directory.name}` ends it by the marks of its processes",
        ) from error


def _parse(raw: dict[str, Any]) -> Record:
    return Record(
        name=raw["name"],
        marker=raw["marker"],
        provider=raw["provider"],
        kept=raw["kept"],
        owner=_handle(raw["owner"]),
        target=raw["target"],
        group=raw["group"],
        topics=tuple(Topic(**topic) for topic in raw["topics"]),
        replicas=tuple(
            replace(Replica(**{**one, "recipe": Recipe.from_json(one["recipe"])}), handle=_handle(one["handle"]))
            for one in raw["replicas"]
        ),
        extra=raw["extra"],
    )


def servers_end_with(directory: Path) -> bool:
    """Whether the servers of a testbed end with it. Those of others stay, and what was broken there stays broken.

    True also for a testbed without a record: it never got to break anything.
    """
    try:
        return load(directory).provider == OWN
    except StackError:
        return True


def _handle(raw: dict[str, int] | None) -> Handle | None:
    return Handle(**raw) if raw else None
