"""Several input topics while a run goes on: each is watched by its own group, and its letters go back to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition

from chaosd.conductor import drain
from chaosd.envelope.dialects.letter import DeadLetter
from chaosd.experiment.content import Inspection
from chaosd.journal.columns import Deviation, Role
from chaosd.journal.write import Witness
from chaosd.kernel.clock import SystemClock
from chaosd.traffic import replay
from chaosd.traffic.config import Config, Followed, Topic
from chaosd.traffic.letters import Found, Original
from chaosd.traffic.progress import Progress
from chaosd.traffic.sight import Origins, Sight

TOPICS = [
    Topic("orders", "input", 2),
    Topic("refunds", "input", 2),
    Topic("bills", "output", 1),
    Topic("dlq", "dlq", 1),
]


class Kafka:
    """Stands for the clients: what each group has committed, and which are Stable. `asked`: who was asked for what."""

    def __init__(self, committed: dict[str, dict[TopicPartition, int]], stable: tuple[str, ...] = ()) -> None:
        self.committed, self.groups_stable = committed, stable
        self.asked: list[tuple[str, list[TopicPartition]]] = []

    async def find_coordinator(self, group: str) -> int:
        return 1

    async def list_consumer_group_offsets(self, group: str, coordinator: int, partitions: list[TopicPartition]) -> Any:
        self.asked.append((group, partitions))
        return {at: SimpleNamespace(offset=self.committed[group].get(at, -1)) for at in partitions}

    async def describe_consumer_groups(self, groups: list[str], coordinator: int) -> Any:
        state = "Stable" if groups[0] in self.groups_stable else "PreparingRebalance"
        return [SimpleNamespace(groups=[(0, groups[0], state)])]

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 7)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)


async def sampled(groups: tuple[str, str], kafka: Kafka) -> tuple[list[dict[str, Any]], np.ndarray]:
    """One sample of a run whose two inputs are read by these groups: for the drain, and as rows."""
    followed = [Followed(topic.name, topic.partitions, group) for topic, group in zip(TOPICS, groups, strict=False)]
    config = Config("", "", 1, 1, 0, 4, TOPICS, inputs=followed)
    rows: list[np.ndarray] = []
    progress = Progress(config, SystemClock(), rows.append)

    async def clients() -> Any:
        return kafka, kafka

    progress._clients = clients  # type: ignore[method-assign]
    await progress._sample()
    return progress.summary({}), rows[0]


def at(topic: str, *committed: int) -> dict[TopicPartition, int]:
    return {TopicPartition(topic, number): offset for number, offset in enumerate(committed)}


async def test_each_input_is_watched_by_its_own_group():
    kafka = Kafka({"a": at("orders", 7, 6), "b": at("refunds", 5, 4)}, stable=("a",))
    told, rows = await sampled(("a", "b"), kafka)
    assert [(row["topic"], row["partition"], row["committed"]) for row in told] == [
        ("orders", 0, 7),
        ("orders", 1, 6),
        ("refunds", 0, 5),
        ("refunds", 1, 4),
    ]
    assert [(group, {one.topic for one in asked}) for group, asked in kafka.asked] == [
        ("a", {"orders"}),
        ("b", {"refunds"}),
    ]
    assert [(int(row["topic"]), int(row["committed"]), int(row["state"])) for row in rows] == [
        (0, 7, 1), (0, 6, 1), (1, 5, 0), (1, 4, 0), (2, -1, 0), (3, -1, 0),
    ]  # fmt: skip


async def test_one_group_of_both_inputs_is_asked_once():
    kafka = Kafka({"a": {**at("orders", 7, 6), **at("refunds", 5, 4)}}, stable=("a",))
    told, rows = await sampled(("a", "a"), kafka)
    assert [row["committed"] for row in told] == [7, 6, 5, 4]
    assert len(kafka.asked) == 1
    assert rows["state"].tolist() == [1] * 6


async def test_without_groups_nobody_is_asked():
    kafka = Kafka({})
    told, _ = await sampled(("", ""), kafka)
    assert [row["committed"] for row in told] == [-1] * 4
    assert kafka.asked == []


def test_the_drain_is_proved_for_each_partition_of_each_topic():
    rows = [
        {"topic": topic, "partition": 1, "committed": committed, "end": 7, "start": 0}
        for topic, committed in (("orders", 7), ("refunds", 6))
    ]
    told = {"asked_ns": 10, "progress": rows}
    proofs = drain.proofs(told, {"pending": 0}, 5, quiet=True)
    assert [(one["topic"], one["partition"], one["proved"], one["why"]) for one in proofs] == [
        ("orders", 1, True, ""),
        ("refunds", 1, False, "committed 6 of 7"),
    ]
    rows[1]["committed"] = 7
    assert all(one["proved"] for one in drain.proofs(told, {"pending": 0}, 5, quiet=True))


# --- which record is which


def test_offsets_of_one_input_say_nothing_of_the_other():
    origins = Origins()
    origins.begin("orders", 0, 0)
    origins.begin("refunds", 0, 0)
    origins.note("orders", 0, 3, 1, 9)
    assert origins.find("orders", 0, 3) == (1, 9)
    assert origins.find("refunds", 0, 3) is None
    assert (origins.covers("orders", 0, 3), origins.covers("refunds", 0, 3)) == (True, False)


class Claims:
    """A content whose dead letters name (topic, partition 1, offset 5) in their value."""

    def inspect(
        self, role: Role, topic: str, partition: int, key: Any, value: Any, headers: Any, origin: Any
    ) -> Inspection:
        if role is Role.INPUT:
            return Inspection(2, 8, 0, Deviation.NONE)
        source = value.decode()
        stream, seq = origin(source, 1, 5) or (-1, -1)
        return Inspection(stream, seq, 0, Deviation.NONE if stream >= 0 else Deviation.UNIDENTIFIED, 1, 5, source)


@pytest.mark.parametrize(("source", "number"), [("orders", 1), ("refunds", 3)])
def test_a_letter_waits_for_the_record_of_the_topic_it_names_and_tells_it_by_number(tmp_path, source, number):
    sight = Sight(TOPICS, Claims(), Witness(tmp_path, "tap"))  # type: ignore[arg-type]
    for topic in ("orders", "refunds"):
        sight.origins.begin(topic, 1, 0)

    def record(topic: str, partition: int, offset: int, value: bytes) -> Any:
        return SimpleNamespace(
            topic=topic, partition=partition, offset=offset, timestamp=0, key=b"k", value=value, headers=()
        )

    other = {"orders": "refunds", "refunds": "orders"}[source]
    assert sight.look(record("dlq", 0, 0, source.encode()), 100, 0) is None
    sight.look(record(other, 1, 5, b""), 150, 0)
    assert sight.again(200) == []
    sight.look(record(source, 1, 5, b""), 250, 0)
    ((row, _, _),) = sight.again(300)
    assert (row[5], row[6], row[10], row[11]) == (2, 8, number, 5)


# --- dead letters go back


def test_a_dead_letter_goes_back_to_the_topic_it_came_from():
    """Both topics have a record at the same partition and offset."""
    originals = {(topic, 1, 5): Original(b"k", topic.encode(), ()) for topic in ("orders", "refunds")}
    for topic in ("orders", "refunds"):
        letter = DeadLetter("kafka-connect", topic, 1, 5, "", "", "", b"k", b"copy", (), exact=False)
        made = replay._plan(Found("dlq", 0, 0, 0, b"k", 4, letter), originals, force=True)
        assert (made.topic, made.partition) == (topic, 1)
        assert made.original is not None
        assert made.original.value == topic.encode()
