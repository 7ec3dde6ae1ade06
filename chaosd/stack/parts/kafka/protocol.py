"""Kafka's wire protocol, as far as readiness needs it: Metadata v1 and FindCoordinator v1.

Source: kafka.apache.org/protocol (non-flexible versions: int16-prefixed strings, int32-prefixed arrays, big-endian).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosd.stack.part import PROBE_S, NotReady, connection

if TYPE_CHECKING:
    from chaosd.stack.address import Address

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


class _Reader:
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
        length = max(self.take("h"), 0)
        self._at += length
        return self._data[self._at - length : self._at].decode()

    def ints(self) -> frozenset[int]:
        """An array of int32."""
        return frozenset(self.take("i") for _ in range(max(self.take("i"), 0)))


async def _call(address: Address, api: int, version: int, body: bytes, limit_s: float) -> _Reader:
    client = b"chaosd"
    message = struct.pack(">hhih", api, version, 1, len(client)) + client + body
    async with connection(address, limit_s) as (reader, writer):
        writer.write(struct.pack(">i", len(message)) + message)
        length = struct.unpack(">i", await reader.readexactly(4))[0]
        answer = _Reader(await reader.readexactly(length))
    answer.take("i")  # the correlation id: one request a connection
    return answer


async def metadata(address: Address, *, topics: bool = True, limit_s: float = PROBE_S) -> Metadata:
    """Ask for the brokers and, with `topics`, for all topics. Brokers that are fenced are not among them."""
    answer = await _call(address, _METADATA, 1, _ALL_TOPICS if topics else _NO_TOPICS, limit_s)
    brokers = {}
    for _ in range(answer.take("i")):
        node, host, port = answer.take("i"), answer.text(), answer.take("i")
        answer.text()
        brokers[node] = (host, port)
    answer.take("i")
    found: dict[str, dict[int, Partition]] = {}
    for _ in range(answer.take("i")):
        answer.take("h")
        name = answer.text()
        answer.take("b")
        partitions = found.setdefault(name, {})
        for _ in range(answer.take("i")):
            answer.take("h")
            index = answer.take("i")
            partitions[index] = Partition(answer.take("i"), answer.ints(), answer.ints())
    return Metadata(brokers, found)


async def find_coordinator(address: Address, group: str, *, limit_s: float = PROBE_S) -> int:
    """Ask who coordinates a consumer group; the first such question makes the broker create __consumer_offsets.

    Gives the error code: 0, or 15 while the coordinator is not there yet.
    """
    name = group.encode()
    body = struct.pack(">h", len(name)) + name + b"\0"
    answer = await _call(address, _FIND_COORDINATOR, 1, body, limit_s)
    answer.take("i")
    return answer.take("h")
