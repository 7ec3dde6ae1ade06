"""Turns records that were read into rows of SIGHTINGS, and remembers which input record is which envelope."""

from __future__ import annotations

import base64
from array import array
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from chaosd.experiment.content import Content, Inspection
from chaosd.journal import inputs
from chaosd.journal.columns import NO_STREAM, Deviation, Role
from chaosd.journal.write import Witness
from chaosd.kernel.clock import SECOND
from chaosd.traffic.config import Topic

Row = tuple[int, ...]
# A dead letter can be read before the input record that it names, and any record before the command that planned its
# envelope: it waits so long for it.
_WAIT_NS = 2 * SECOND
_UNKNOWN = -1
# What is read only when the run is over is not the run's own: what is of others there is nobody's mistake.
_LATER = (Role.INTERNAL, Role.TABLE)
_NOT_OURS = Deviation.UNIDENTIFIED | Deviation.FOREIGN


class Record(Protocol):
    """What a Kafka consumer gives."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Any


class Origins:
    """(topic, partition, offset) of an input record → (stream, seq), as far as it was read."""

    def __init__(self) -> None:
        self._from: dict[tuple[str, int], int] = {}
        self._packed: dict[tuple[str, int], array[int]] = {}

    def begin(self, topic: str, partition: int, offset: int) -> None:
        """Nothing before this offset is ours."""
        self._from[topic, partition] = offset
        self._packed[topic, partition] = array("q")

    def note(self, topic: str, partition: int, offset: int, stream: int, seq: int) -> None:
        """An input record was read; stream -1 when it is not ours."""
        known = self._packed[topic, partition]
        index = offset - self._from[topic, partition]
        if index < 0:
            return
        # Offsets have gaps where transactions end.
        known.extend([_UNKNOWN] * (index + 1 - len(known)))
        known[index] = (stream << 32) | seq if stream >= 0 else _UNKNOWN

    def covers(self, topic: str, partition: int, offset: int) -> bool:
        """Whether the input was read past this offset (or never will be)."""
        at = (topic, partition)
        return at not in self._from or offset < self._from[at] + len(self._packed[at])

    def find(self, topic: str, partition: int, offset: int) -> tuple[int, int] | None:
        """The envelope of an input record, None when it is not known (yet) or not ours."""
        index = offset - self._from.get((topic, partition), offset + 1)
        known = self._packed.get((topic, partition))
        if known is None or not 0 <= index < len(known) or known[index] == _UNKNOWN:
            return None
        return known[index] >> 32, known[index] & 0xFFFFFFFF


@dataclass(slots=True)
class Sighting:
    """A record with its place in the run and the time it was first seen."""

    index: int
    role: Role
    record: Record
    seen_ns: int
    final: int


class Sight:
    """Inspects records of the run's topics. What deviates goes to the witness file with its raw bytes.

    `unnamed` are topics between services with records that carry no identity.
    """

    def __init__(self, topics: list[Topic], content: Content, witness: Witness) -> None:
        self._places = {topic.name: (n, Role[topic.role.upper()]) for n, topic in enumerate(topics)}
        # Rows count the partitions of all inputs through.
        sources = [topic for topic in topics if Role[topic.role.upper()] is Role.INPUT]
        self._firsts = inputs.firsts((topic.name, topic.partitions) for topic in sources)
        self._content = content
        self._witness = witness
        self.origins = Origins()
        self._waiting: deque[Sighting] = deque()
        self.unnamed: set[str] = set()

    def role_of(self, topic: str) -> Role:
        """What this topic is to the run."""
        return self._places[topic][1]

    def name_anew(self, topic: str, index: int) -> None:
        """From now on records of this topic are those of another one: it was deleted, and made again."""
        self._places[topic] = (index, self.role_of(topic))

    def look(self, record: Record, seen_ns: int, final: int) -> tuple[Row, Role, Inspection] | None:
        """The row of one record; None when it must wait for its plan or for the input record that it names, and for
        what is not of this run in a table or between services.
        """
        index, role = self._places[record.topic]
        sighting = Sighting(index, role, record, seen_ns, final)
        found = self._inspect(sighting)
        if role in _LATER and found.deviation & _NOT_OURS:
            if role is Role.INTERNAL:
                self.unnamed.add(record.topic)
            return None
        if self._too_early(role, found):
            self._waiting.append(sighting)
            return None
        return self._row(sighting, found)

    def again(self, now_ns: int, *, at_once: bool = False) -> list[tuple[Row, Role, Inspection]]:
        """Rows of what had to wait and can be told now, or has waited long enough. `at_once`: all of them."""
        done = []
        for _ in range(len(self._waiting)):
            sighting = self._waiting.popleft()
            found = self._inspect(sighting)
            if self._too_early(sighting.role, found) and not at_once and now_ns - sighting.seen_ns < _WAIT_NS:
                self._waiting.append(sighting)
            else:
                done.append(self._row(sighting, found))
        return done

    def _too_early(self, role: Role, found: Inspection) -> bool:
        if found.deviation and found.deviation & Deviation.UNPLANNED:
            return True
        if role is not Role.DLQ:
            return False
        at = (found.origin_topic, found.origin_partition, found.origin_offset)
        return found.origin_offset >= 0 and not self.origins.covers(*at)

    def _inspect(self, sighting: Sighting) -> Inspection:
        record = sighting.record
        found = self._content.inspect(
            sighting.role,
            record.topic,
            record.partition,
            record.key,
            record.value,
            record.headers,
            self.origins.find,
        )
        if sighting.role is Role.INPUT:
            self.origins.note(record.topic, record.partition, record.offset, found.stream, found.seq)
        return found

    def _row(self, sighting: Sighting, found: Inspection) -> tuple[Row, Role, Inspection]:
        record = sighting.record
        if found.deviation:
            self._witness.append(_raw(record, sighting.seen_ns, int(found.deviation)))
        row = (
            sighting.index,
            record.partition,
            record.offset,
            record.timestamp,
            sighting.seen_ns,
            found.stream if 0 <= found.stream < NO_STREAM else NO_STREAM,
            found.seq if 0 <= found.seq <= 0xFFFFFFFF else 0,
            found.type,
            int(found.deviation),
            content_hash(record.key, record.value),
            # What a record claims may be any number; what no partition or offset can be is as good as absent.
            self._origin(found),
            found.origin_offset if 0 <= found.origin_offset < 1 << 40 else -1,
            sighting.final,
        )
        return row, sighting.role, found

    def _origin(self, found: Inspection) -> int:
        partition = found.origin_partition + self._firsts.get(found.origin_topic, 0)
        return partition if found.origin_partition >= 0 and partition < 1 << 15 else -1


def content_hash(key: bytes | None, value: bytes | None) -> int:
    """64 bits of BLAKE2b over key and value, the same in every process."""
    digest = blake2b(value or b"", digest_size=8, key=(key or b"")[:64])
    return int.from_bytes(digest.digest(), "little")


def _raw(record: Record, seen_ns: int, deviation: int) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "seen_ns": seen_ns,
        "deviation": deviation,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")
