"""Kafka as a part: when it serves, its properties, how its JVM is started small and fast."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosd.process.spawn import PART, Recipe
from chaosd.stack.part import NotReady, Part
from chaosd.stack.parts.kafka import protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaosd.stack.address import Address

AOT_JAVA = 25  # the first release whose AOT cache can be made in one training run
MIN_JAVA = 17  # what Kafka 4 needs
CLUSTER = 3  # the brokers of a cluster: the least of which one may fail
_META, _FEATURES = "meta.properties", "bootstrap.checkpoint"

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
    "listener.security.protocol.map": "DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "DIRECT",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # A broker that was killed stays fenced until its old session ends: 11.6 s with the defaults, 2 s with these.
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
    "metadata.max.idle.interval.ms": "10000",
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
    # Whoever holds a quota is held to it over two seconds and not over eleven: what was sent before it is not charged.
    "quota.window.num": "2",
}
# Where one node is all: every copy is on it.
_ALONE = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
}
_CLUSTER = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "default.replication.factor": "3",
    # Longer than where it is alone: there a broker that the machine holds up for a second is fenced and nobody notices,
    # here its leaders move to others.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "300",
    # Leaders stay where a fault moved them: a rebalance of leaders minutes later would be a fault of nobody's.
    "auto.leader.rebalance.enable": "false",
    # A controller that is gone is replaced within a second, as a broker is; by default it takes two to three.
    "controller.quorum.fetch.timeout.ms": "1000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "300",
    # A follower that stands still leaves the in-sync replicas with its session; this is for one that only lags.
    "replica.lag.time.max.ms": "2000",
    "replica.fetch.wait.max.ms": "200",
    "num.replica.fetchers": "1",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One broker and controller. `proxied` is the port of its proxy: what the listener on `inner` tells its clients."""

    id: int
    direct: int
    proxied: int
    inner: int
    controller: int


async def _ready(address: Address) -> str:
    """A broker that is not fenced, and a leader for every partition: clients can produce and consume at once."""
    answer = await protocol.metadata(address)
    if not answer.brokers:
        raise NotReady("the broker is still fenced")
    for topic, partitions in answer.partitions.items():
        if any(found.leader == -1 for found in partitions.values()):
            raise NotReady(f"topic {topic} has a partition without a leader")
    return ""


async def _member_ready(address: Address) -> str:
    """A broker of a cluster: it is not fenced, all partitions have leaders, and it is in sync with those it copies."""
    answer = await protocol.metadata(address)
    own = next((node for node, (_, port) in answer.brokers.items() if port == address.port), None)
    if own is None:
        raise NotReady("the broker is still fenced")
    for topic, partitions in answer.partitions.items():
        for number, found in partitions.items():
            if found.leader == -1:
                raise NotReady(f"partition {number} of topic {topic} has no leader")
            if own in found.replicas and own not in found.in_sync:
                raise NotReady(f"the broker is not in sync with partition {number} of topic {topic}")
    return ""


async def make_offsets_topic(address: Address) -> None:
    """Make __consumer_offsets now, so that the first consumer group of a stack need not wait 0.5 s for it."""
    async with asyncio.timeout(30):
        while await protocol.find_coordinator(address, "chaosd") != 0:
            await asyncio.sleep(0.05)
        while True:
            try:
                await part.ready(address)
            except (NotReady, OSError):
                await asyncio.sleep(0.05)
            else:
                return


async def reachable(address: Address) -> str:
    """A broker answers; nothing is said about leaders (a cluster of others may have sick topics of its own)."""
    if not (await protocol.metadata(address, topics=False)).brokers:
        raise NotReady("no broker is in the metadata")
    return ""


async def _round_trip(address: Address) -> None:
    await protocol.metadata(address, topics=False)


def properties(node: Node, quorum: Sequence[Node], data: Path) -> str:
    """server.properties of a node of a `quorum`, which it is itself in."""
    listeners = {"DIRECT": node.direct, "PROXIED": node.inner, "CONTROLLER": node.controller}
    values = {
        **_PROPERTIES,
        **(_CLUSTER if len(quorum) > 1 else _ALONE),
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(f"{voter.id}@127.0.0.1:{voter.controller}" for voter in quorum),
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
        "advertised.listeners": f"DIRECT://127.0.0.1:{node.direct},PROXIED://127.0.0.1:{node.proxied}",
        "log.dirs": str(data),
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def lay_out(template: Path, log: Path, node: int) -> None:
    """The formatted data folder of a node of a cluster that has not run: what all nodes share, and who this one is.

    Of the template it takes the id of the cluster and the features it begins with; what a broker wrote into the
    template while it ran alone belongs to another quorum. Source: kafka.tools.StorageTool, `format`.
    """
    log.mkdir(parents=True)
    shutil.copy2(template / _FEATURES, log)
    lines = (template / _META).read_text(encoding="utf-8").splitlines()
    shared = [line for line in lines if not line.startswith(("#", "node.id=", "directory.id="))]
    own = [f"node.id={node}", f"directory.id={random_id()}"]
    (log / _META).write_text("\n".join([*shared, *own, ""]), encoding="utf-8")


def random_id() -> str:
    """A random id as Kafka writes them. Its tools take one that begins with `-` for an option."""
    while (text := base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")).startswith("-"):
        pass
    return text


def recipe(java: str, class_path: Path, cache: tuple[str, ...], config: Path, log: Path, name: str = "kafka") -> Recipe:
    """How to start the broker that is `name` in its stack. `class_path` is a Java argument file, `cache` the flags of
    the AOT cache or none.
    """
    argv = (java, *_JVM, *cache, f"@{class_path}", "kafka.Kafka", str(config))
    return Recipe(argv, _env(name), str(config.parent), str(log))


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
member = Part("kafka", _member_ready, _round_trip)
