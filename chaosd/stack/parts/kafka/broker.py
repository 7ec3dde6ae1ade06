"""Kafka as a part: when it serves, its properties, how its JVM is started small and fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosd.process.spawn import PART, Recipe
from chaosd.stack.part import NotReady, Part
from chaosd.stack.parts.kafka import protocol

if TYPE_CHECKING:
    from pathlib import Path

    from chaosd.stack.address import Address

AOT_JAVA = 25  # the first release whose AOT cache can be made in one training run
MIN_JAVA = 17  # what Kafka 4 needs

_JVM = (
    "-Xms16m",
    "-Xmx48m",
    "-Xss256k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=16m",
    "-XX:MaxDirectMemorySize=16m",
    "-XX:-UsePerfData",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "DIRECT",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # A broker that was killed stays fenced until its old session ends: 11.6 s with the defaults, 2 s with these.
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
    "num.partitions": "4",
    # By default 5 MB each in one piece, which this heap may lack while clients catch up after a restart. A coordinator
    # that cannot load its groups stays away until the next election, and looks like a broken target.
    "offsets.load.buffer.size": "65536",
    "transaction.state.log.load.buffer.size": "65536",
    # A missing topic must be an error, not a topic.
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
    "log.cleaner.enable": "false",
}


async def _ready(address: Address) -> str:
    """A broker that is not fenced, and a leader for every partition: clients can produce and consume at once."""
    answer = await protocol.metadata(address)
    if not answer.brokers:
        raise NotReady("the broker is still fenced")
    for topic, partitions in answer.leaders.items():
        if -1 in partitions.values():
            raise NotReady(f"topic {topic} has a partition without a leader")
    return ""


async def reachable(address: Address) -> str:
    """A broker answers; nothing is said about leaders (a cluster of others may have sick topics of its own)."""
    if not (await protocol.metadata(address, topics=False)).brokers:
        raise NotReady("no broker is in the metadata")
    return ""


async def _round_trip(address: Address) -> None:
    await protocol.metadata(address, topics=False)


def properties(direct: int, proxied: int, inner: int, controller: int, data: Path) -> str:
    """server.properties. `proxied` is the port of the proxy: what the listener on `inner` tells its clients to dial."""
    values = {
        **_PROPERTIES,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"DIRECT://127.0.0.1:{direct},PROXIED://127.0.0.1:{inner},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"DIRECT://127.0.0.1:{direct},PROXIED://127.0.0.1:{proxied}",
        "log.dirs": str(data),
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def recipe(java: str, class_path: Path, cache: tuple[str, ...], config: Path, log: Path) -> Recipe:
    """How to start the broker. `class_path` is a Java argument file, `cache` the flags of the AOT cache or none."""
    argv = (java, *_JVM, *cache, f"@{class_path}", "kafka.Kafka", str(config))
    return Recipe(argv, _env("kafka"), str(config.parent), str(log))


def format_recipe(java: str, class_path: Path, cluster: str, config: Path, log: Path) -> Recipe:
    """How to make the data folder of a broker that has not run yet."""
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config))
    return Recipe(
        (java, "-Xmx64m", "-XX:+UseSerialGC", f"@{class_path}", *tool), _env(""), str(config.parent), str(log)
    )


def _env(part: str) -> dict[str, str]:
    # One malloc arena instead of one per thread: 10 MB less.
    return {PART: part, "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}


part = Part("kafka", _ready, _round_trip)
