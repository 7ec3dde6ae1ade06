"""What generator and tap are told: their configuration file and the segments they are commanded with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from chaosd.experiment.content import Content, Role
from chaosd.experiment.plan import Segment
from chaosd.kernel.errors import UsageError


class Topic(msgspec.Struct, frozen=True):
    """A topic of the run; rows name it by its index in the list."""

    name: str
    role: str
    partitions: int


class Config(msgspec.Struct, frozen=True):
    """What both are told; `bootstrap` is the DIRECT listener.

    `topic`, `partitions` and `delivery_timeout_s` matter to the generator, `group` (the target's) to the tap.
    """

    run_dir: str
    bootstrap: str
    run_tag: int
    seed: int
    base_wall_ns: int
    streams: int
    topics: list[Topic]
    group: str = ""
    topic: str = ""
    partitions: int = 0
    delivery_timeout_s: float = 40.0


def read_config(path: str) -> Config:
    """Read a configuration file. Raises UsageError when it is not one."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Config)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is not a configuration of generator or tap: {error}") from error


def segment_of(command: Mapping[str, Any]) -> Segment:
    """The segment that a command carries."""
    return msgspec.convert({**command, "poison": command.get("poison", ())}, Segment)


def content_of(config: Config) -> Content:
    """The content of the run that this configuration is of."""
    topics = {Role[topic.role.upper()]: (topic.name, topic.partitions) for topic in config.topics}
    return Content(config.run_tag, config.seed, config.streams, topics, config.base_wall_ns)
