"""What the plan says must be on the wire, and how a record read from there differs from it. Pure.

Rendered and recomputed from (seed, stream, seq) alone, so a record needs no stored copy to be judged.
"""

from __future__ import annotations

import base64
import uuid
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import Any, NamedTuple

from chaosd.envelope import identity, wire
from chaosd.envelope.dialects import chaosd as dialect
from chaosd.envelope.identity import HEADER_DIGEST, HEADER_ID, Identity
from chaosd.envelope.kinds import ErrorType, EventType, SignalType
from chaosd.envelope.partition import partition_of
from chaosd.envelope.poison import KINDS, spoil
from chaosd.experiment.plan import Segment, chance, global_index, kind_of

TYPES: tuple[EventType, ...] = tuple(EventType)
UNKNOWN_TYPE = 255
_EXCHANGE = timezone(timedelta(hours=5, minutes=30))
_SOURCE, _BROKER = "chaosd", "simulated"
_SIGNALS = (SignalType.BUY, SignalType.SELL, SignalType.HOLD)

Headers = Sequence[tuple[str, bytes]]
Origin = Callable[[str, int, int], tuple[int, int] | None]


class Role(IntEnum):
    """What a topic is to the run; the tap and the target file speak of these."""

    INPUT = 0
    OUTPUT = 1
    DLQ = 2
    INTERNAL = 3  # between two services: says how far an envelope came, and is not judged
    TABLE = 4  # rows of a table, each a record; read when the run is over


class Deviation(IntFlag):
    """How a record differs from what it must be."""

    NONE = 0
    UNIDENTIFIED = 1  # no identity could be drawn from it
    FOREIGN = 2  # the identity carries another run's tag
    UNDECODABLE = 4  # not an envelope
    DIGEST = 8  # input only: the header does not prove the record
    KEY = 16
    TOPIC = 32  # right content on the wrong topic or partition
    TYPE = 64
    FIELD = 128  # a field of the data (or of the envelope) differs
    CORRELATION = 256
    CAUSATION = 512
    ERROR_TYPE = 1024
    COORDINATES = 2048  # the original coordinates of a DLQ record do not name its input
    PAYLOAD = 4096  # the original message of a DLQ record is not what was sent
    UNPLANNED = 8192  # this run's tag with an identity that was never intended


class Rendered(NamedTuple):
    """An input record."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Inspection(NamedTuple):
    """What a record was found to be. `stream` and `seq` are -1 without an identity; `origin_*` -1 when absent, and
    `origin_topic` is an input topic's name only.
    """

    stream: int
    seq: int
    type: int
    deviation: Deviation
    origin_partition: int = -1
    origin_offset: int = -1
    origin_topic: str = ""


class Content:
    """The content of one run. Segments are added as they are commanded; before that their envelopes are unplanned."""

    def __init__(
        self, run_tag: int, seed: int, streams: int, topics: Mapping[Role, tuple[str, int]], base_wall_ns: int
    ) -> None:
        """`topics`: name and number of partitions by role. `base_wall_ns`: times inside envelopes count from here."""
        self._run_tag = run_tag
        self._seed = seed
        self._streams = streams
        self._topics = topics
        self._base = datetime.fromtimestamp(base_wall_ns // 1_000_000 / 1000, UTC)
        self._exchange_base = self._base.astimezone(_EXCHANGE)
        self._segments: list[Segment] = []
        self._firsts: list[int] = []
        self._keys = tuple(self._own_key(stream) for stream in range(streams))

    def add(self, segment: Segment) -> None:
        """Take in a commanded segment; they come in the order of `first`."""
        self._segments.append(segment)
        self._firsts.append(segment.first)

    def key_of(self, stream: int) -> str:
        """The one key of a stream; streams are spread evenly over the input partitions."""
        return self._keys[stream]

    def source_of(self, stream: int) -> tuple[str, int]:
        """The input topic of a stream, and its number of partitions."""
        return self._topics[Role.INPUT]

    def results_of(self, stream: int) -> int:
        """How many outputs an ordinary envelope of a stream gives: what is waited for, at least one."""
        return 1

    def kind(self, stream: int, seq: int) -> int | None:
        """The planned kind of (stream, seq), None when it was never planned."""
        segment = self._segment(stream, seq)
        if segment is None:
            return None
        return kind_of(self._seed, global_index(stream, seq, self._streams), segment.poison)

    def _own_key(self, stream: int) -> str:
        return _key(stream, self._topics[Role.INPUT][1])

    def _segment(self, stream: int, seq: int) -> Segment | None:
        """The segment that planned (stream, seq)."""
        if not 0 <= stream < self._streams:
            return None
        k = global_index(stream, seq, self._streams)
        at = bisect_right(self._firsts, k) - 1
        if at < 0 or k >= self._segments[at].first + self._segments[at].count:
            return None
        return self._segments[at]

    def render(self, stream: int, seq: int, kind: int) -> Rendered:
        """The input record of (stream, seq)."""
        own = identity.pack(self._run_tag, stream, seq)
        key = self._keys[stream]
        value = wire.encode(
            wire.WireEnvelope(
                id=own,
                correlation_id=own,
                trace_id=own,
                broker=_BROKER,
                type=EventType.MARKET_TICK,
                ts=self._ts(stream, seq),
                key=key,
                source=_SOURCE,
                data=self._tick(stream, seq),
            )
        )
        if kind:
            value = spoil(KINDS[kind - 1], value, global_index(stream, seq, self._streams))
        raw = key.encode()
        proof = identity.digest(self._run_tag, stream, seq, self.source_of(stream)[0], raw, value)
        return Rendered(raw, value, ((HEADER_ID, str(own).encode()), (HEADER_DIGEST, proof)))

    def _ts(self, stream: int, seq: int) -> datetime:
        return self._base + timedelta(milliseconds=global_index(stream, seq, self._streams))

    def _tick(self, stream: int, seq: int) -> dict[str, Any]:
        k = global_index(stream, seq, self._streams)
        bits, since = chance(self._seed ^ 0x7469636B, k), timedelta(milliseconds=k)
        return {
            "symbol": self._keys[stream],
            # Trailing zeros stay: "101.50" that comes back as "101.5" was a float on the way.
            "price": f"{100 + bits % 900}.{(bits >> 16) % 100:02d}",
            "volume": 1 + (bits >> 32) % 1000,
            "exchange_ts": (self._exchange_base + since).isoformat(timespec="milliseconds"),
        }

    def inspect(
        self,
        role: Role,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        origin: Origin,
    ) -> Inspection:
        """Identify a record and compare it with what it must contain.

        `origin` looks up which envelope the input record at (topic, partition, offset) is; None: not known (yet).
        """
        if role is Role.INPUT:
            return self._input(topic, partition, key or b"", value or b"", dict(headers))
        if role is Role.OUTPUT:
            return self._output(topic, partition, key, value or b"")
        return self._dead_letter(key, value or b"", origin)

    def _whose(self, text: uuid.UUID | str | None) -> tuple[Identity | None, Deviation]:
        found = identity.unpack(text) if text is not None else None
        if found is None:
            return None, Deviation.UNIDENTIFIED
        if found.run_tag != self._run_tag:
            return found, Deviation.FOREIGN
        if self._segment(found.stream, found.seq) is None:
            return found, Deviation.UNPLANNED
        return found, Deviation.NONE

    def _input(self, topic: str, partition: int, key: bytes, value: bytes, headers: dict[str, bytes]) -> Inspection:
        mine, deviation = self._whose((headers.get(HEADER_ID) or b"").decode("ascii", "replace"))
        kind = TYPES.index(EventType.MARKET_TICK)
        if mine is None or deviation:
            return _found(mine, kind, deviation)
        wanted = identity.digest(self._run_tag, mine.stream, mine.seq, topic, key, value)
        if headers.get(HEADER_DIGEST) != wanted:
            deviation |= Deviation.DIGEST
        return Inspection(mine.stream, mine.seq, kind, deviation | self._route(mine, Role.INPUT, topic, partition, key))

    def _route(self, mine: Identity, role: Role, topic: str, partition: int, key: bytes | None) -> Deviation:
        wanted = self._keys[mine.stream].encode()
        name, partitions = self.source_of(mine.stream) if role is Role.INPUT else self._topics[role]
        deviation = Deviation.NONE if key == wanted else Deviation.KEY
        if topic != name or partition != partition_of(wanted, partitions):
            deviation |= Deviation.TOPIC
        return deviation

    def _output(self, topic: str, partition: int, key: bytes | None, value: bytes) -> Inspection:
        try:
            envelope = wire.decode(value)
        except ValueError:
            return Inspection(-1, -1, UNKNOWN_TYPE, Deviation.UNIDENTIFIED | Deviation.UNDECODABLE)
        kind = TYPES.index(envelope.type)
        mine, deviation = self._whose(envelope.correlation_id)
        if mine is None or deviation:
            return _found(mine, kind, deviation)
        deviation |= self._route(mine, Role.OUTPUT, topic, partition, key)
        own = envelope.correlation_id  # the one that was identified
        if envelope.trace_id != own:
            deviation |= Deviation.CORRELATION
        if envelope.causation_id != own or envelope.parent_trace_id != own:
            deviation |= Deviation.CAUSATION
        if envelope.type is not EventType.VALIDATED_SIGNAL:
            deviation |= Deviation.TYPE
        if envelope.data != self._signal(mine) or envelope.key != self._keys[mine.stream]:
            deviation |= Deviation.FIELD
        return Inspection(mine.stream, mine.seq, kind, deviation)

    def _signal(self, mine: Identity) -> dict[str, Any]:
        tick = self._tick(mine.stream, mine.seq)
        whole, _, cents = tick["price"].partition(".")
        total = int(whole + cents) * tick["volume"]
        notional = f"{total // 100}.{total % 100:02d}"
        return {**tick, "signal": _SIGNALS[tick["volume"] % 3], "notional": notional}

    def _dead_letter(self, key: bytes | None, value: bytes, origin: Origin) -> Inspection:
        letter = dialect.read(value)
        if letter is None:
            return Inspection(-1, -1, UNKNOWN_TYPE, Deviation.UNIDENTIFIED | Deviation.UNDECODABLE)
        source = self._topics[Role.INPUT][0]
        at = origin(source, letter.partition, letter.offset) if letter.topic == source else None
        carried = letter.headers.get(HEADER_ID)
        mine, deviation = self._whose(carried if carried is not None else letter.envelope.correlation_id)
        if at is not None and (mine is None or deviation or (mine.stream, mine.seq) != at):
            # The coordinates are the strongest evidence; another identity beside them is the letter's mistake.
            deviation = Deviation.NONE if mine is None else Deviation.COORDINATES
            mine = Identity(self._run_tag, *at)
        kind = TYPES.index(letter.envelope.type)
        if mine is None or deviation & (Deviation.FOREIGN | Deviation.UNPLANNED):
            return _found(mine, kind, deviation, letter.partition, letter.offset)._replace(origin_topic=source)
        if letter.topic != source or letter.partition < 0 or letter.offset < 0:
            deviation |= Deviation.COORDINATES
        deviation |= self._letter(mine, letter, key)
        return Inspection(mine.stream, mine.seq, kind, deviation, letter.partition, letter.offset, source)

    def _letter(self, mine: Identity, letter: dialect.Letter, key: bytes | None) -> Deviation:
        deviation = Deviation.NONE
        wanted = self._keys[mine.stream]
        planned = self.kind(mine.stream, mine.seq) or 0
        own = identity.pack(self._run_tag, mine.stream, mine.seq)
        if key != wanted.encode():
            deviation |= Deviation.KEY
        if letter.envelope.type is not EventType.SYSTEM_ERROR:
            deviation |= Deviation.TYPE
        if planned and letter.error_type != ErrorType.POISON:
            deviation |= Deviation.ERROR_TYPE
        # What cannot be parsed has no correlation that a target could keep: a fresh one is right there.
        readable = not planned or KINDS[planned - 1] not in ("not_json", "wrong_encoding")
        if readable and (letter.envelope.correlation_id != own or letter.envelope.trace_id != own):
            deviation |= Deviation.CORRELATION
        if readable and letter.envelope.causation_id != own:
            deviation |= Deviation.CAUSATION
        sent = self.render(mine.stream, mine.seq, planned)
        if letter.key != wanted or letter.value not in _texts(sent.value):
            deviation |= Deviation.PAYLOAD
        return deviation


def _texts(value: bytes) -> tuple[str, ...]:
    """How a DLQ record may carry these bytes."""
    try:
        return (value.decode(),)
    except UnicodeDecodeError:
        return (base64.b64encode(value).decode(),)


def _found(mine: Identity | None, kind: int, deviation: Deviation, partition: int = -1, offset: int = -1) -> Inspection:
    if mine is None:
        return Inspection(-1, -1, kind, deviation, partition, offset)
    return Inspection(mine.stream, mine.seq, kind, deviation, partition, offset)


@lru_cache(maxsize=4096)
def _key(stream: int, partitions: int) -> str:
    """A symbol that Kafka's default partitioner puts on partition `stream % partitions`."""
    tries = (f"SYM{stream}{suffix}" for suffix in ("", *map(chr, range(65, 91)), *map(str, range(100, 1000))))
    return next(key for key in tries if partition_of(key.encode(), partitions) == stream % partitions)
