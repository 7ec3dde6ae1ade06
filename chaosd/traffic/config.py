"""What generator and tap are told: their configuration file and the segments they are commanded with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from chaosd.experiment.content import Content, Role
from chaosd.experiment.contract import Contract
from chaosd.experiment.mapped import Identify, MappedContent
from chaosd.experiment.plan import Segment
from chaosd.experiment.target import Pipeline
from chaosd.kernel.errors import UsageError


class Topic(msgspec.Struct, frozen=True):
    """A topic of the run; rows name it by its index in the list."""

    name: str
    role: str
    partitions: int


class Followed(msgspec.Struct, frozen=True):
    """A topic that the target reads, and the consumer group that does ("" for none)."""

    name: str
    partitions: int
    group: str


class Config(msgspec.Struct, frozen=True):
    """What both are told; `bootstrap` is the DIRECT listener.

    `delivery_timeout_s` matters to the generator, `inputs` and `inside` (the topics between services), which the target
    reads, to the tap. `later` is what is read only when the run is over; rows name it by an index that goes on after
    `topics`. `contract`: of a pipeline of somebody's own; None: the reference pipeline's.
    """

    run_dir: str
    bootstrap: str
    run_tag: int
    seed: int
    base_wall_ns: int
    streams: int
    topics: list[Topic]
    inputs: list[Followed] = []
    delivery_timeout_s: float = 40.0
    contract: Contract | None = None
    inside: list[Followed] = []
    later: list[Topic] = []


def read_config(path: str) -> Config:
    """Read a configuration file. Raises UsageError when it is not one."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Config)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is not a configuration of generator or tap: {error}") from error


def segment_of(command: Mapping[str, Any]) -> Segment:
    """The segment that a command carries."""
    return msgspec.convert({**command, "poison": command.get("poison", ())}, Segment)


def told_of(pipeline: Pipeline | None) -> dict[str, Any]:
    """What both are told of a pipeline of somebody's own, as JSON values."""
    if pipeline is None:
        return {}
    inside = [Followed(one.name, one.partitions, one.group) for one in pipeline.internal]
    told = {"contract": pipeline.contract, "inside": inside, "later": later(pipeline)}
    return {name: msgspec.to_builtins(value) for name, value in told.items()}


def later(pipeline: Pipeline | None) -> list[Topic]:
    """What of a pipeline is read only when the run is over, in the order of its indices."""
    if pipeline is None:
        return []
    inside = [Topic(one.name, Role.INTERNAL.name.lower(), one.partitions) for one in pipeline.internal]
    return [*inside, *(Topic(one.title, Role.TABLE.name.lower(), 1) for one in pipeline.contract.tables)]


def content_of(config: Config, identify: Identify | None = None) -> Content:
    """The content of the run that this configuration is of."""
    if config.contract is not None:
        return MappedContent(
            config.run_tag, config.seed, config.streams, config.base_wall_ns, config.contract, identify
        )
    topics = {Role[topic.role.upper()]: (topic.name, topic.partitions) for topic in config.topics}
    return Content(config.run_tag, config.seed, config.streams, topics, config.base_wall_ns)
