"""Kafka's wire protocol, as far as readiness needs it: Metadata v1 and FindCoordinator v1. `admin.py` has more of it.

Source: kafka.apache.org/protocol (non-flexible versions: int16-prefixed strings, int32-prefixed arrays, big-endian).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosd.stack.part import PROBE_S, NotReady, connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosd.stack.address import Address

CLIENT = "chaosd"
_METADATA, _FIND_COORDINATOR = 3, 10
_ALL_TOPICS = struct.pack(">i", -1)
_NO_TOPICS = struct.pack(">i", 0)


@dataclass(frozen=True, slots=True)
class Partition:
    """Who has a partition, by broker id; `leader` is -1 where there is none."""

    leader: int
    replicas: frozenset[int]
    in_sync: frozenset[int]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a broker tells about its cluster. `partitions`: topic → number of the partition → who has it."""

    brokers: dict[int, tuple[str, int]]
    partitions: dict[str, dict[int, Partition]]


class Reader:
    """Takes values off the front of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, form: str) -> int:
        """One big-endian integer."""
        try:
            value: int = struct.unpack_from(">" + form, self._data, self._at)[0]
        except struct.error as error:
            raise NotReady("the answer is not Kafka's") from error
        self._at += struct.calcsize(">" + form)
        return value

    def text(self) -> str:
        """A string; a null one reads as empty."""
        return self._bytes(self.take("h")).decode(errors="replace")

    def blob(self) -> bytes:
        """Bytes; null ones read as empty."""
        return self._bytes(self.take("i"))

    def real(self) -> float:
        """A float64."""
        return float(struct.unpack(">d", self._bytes(8))[0])

    def count(self) -> range:
        """The numbers of the items of an array that follows; a null one has none."""
        return range(max(self.take("i"), 0))

    def _bytes(self, length: int) -> bytes:
        self._at += max(length, 0)
        return self._data[self._at - max(length, 0) : self._at]

    def ints(self) -> frozenset[int]:
        """An array of int32."""
        return frozenset(self.take("i") for _ in range(max(self.take("i"), 0)))


def text(value: str | None) -> bytes:
    """A string, or a null one, with its length in front."""
    data = (value or "").encode()
    return struct.pack(">h", -1 if value is None else len(data)) + data


def array(items: Sequence[bytes]) -> bytes:
    """An array with its count in front."""
    return struct.pack(">i", len(items)) + b"".join(items)


async def call(
    address: Address, api: int, version: int, body: bytes, limit_s: float = PROBE_S, client: str = CLIENT
) -> Reader:
    """One request on a connection of its own; gives the answer after its header.

    Raises NotReady, OSError or TimeoutError.
    """
    message = struct.pack(">hhi", api, version, 1) + text(client) + body
    async with connection(address, limit_s) as (reader, writer):
        writer.write(struct.pack(">i", len(message)) + message)
        length = struct.unpack(">i", await reader.readexactly(4))[0]
        answer = Reader(await reader.readexactly(length))
    answer.take("i")  # the correlation id: one request a connection
    return answer


async def metadata(address: Address, *, topics: bool = True, limit_s: float = PROBE_S) -> Metadata:
    """Ask for the brokers and, with `topics`, for all topics. Brokers that are fenced are not among them."""
    answer = await call(address, _METADATA, 1, _ALL_TOPICS if topics else _NO_TOPICS, limit_s)
    brokers = {}
    for _ in answer.count():
        node, host, port = answer.take("i"), answer.text(), answer.take("i")
        answer.text()
        brokers[node] = (host, port)
    answer.take("i")
    found: dict[str, dict[int, Partition]] = {}
    for _ in answer.count():
        answer.take("h")
        name = answer.text()
        answer.take("b")
        partitions = found.setdefault(name, {})
        for _ in answer.count():
            answer.take("h")
            index = answer.take("i")
            partitions[index] = Partition(answer.take("i"), answer.ints(), answer.ints())
    return Metadata(brokers, found)


async def find_coordinator(address: Address, group: str, *, limit_s: float = PROBE_S) -> int:
    """Ask who coordinates a consumer group; the first such question makes the broker create __consumer_offsets.

    Gives the error code: 0, or 15 while the coordinator is not there yet.
    """
    body = text(group) + b"\0"
    answer = await call(address, _FIND_COORDINATOR, 1, body, limit_s)
    answer.take("i")
    return answer.take("h")
