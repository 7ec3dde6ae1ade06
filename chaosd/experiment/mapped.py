"""The content of a run on a pipeline of somebody's own: rendered from its template, judged by its rules. Pure.

Whatever cannot be identified is UNIDENTIFIED, and every rule that is there is held; nothing is right by default.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from chaosd.envelope import identity
from chaosd.envelope.dialects import table
from chaosd.envelope.dialects.letter import DeadLetter
from chaosd.envelope.identity import HEADER_DIGEST, HEADER_ID, Identity
from chaosd.envelope.kinds import ErrorType
from chaosd.envelope.partition import partition_of
from chaosd.envelope.poison import KINDS, spoil
from chaosd.experiment import events, where
from chaosd.experiment.content import UNKNOWN_TYPE, Content, Deviation, Headers, Inspection, Origin, Rendered, Role
from chaosd.experiment.contract import Contract, Input, Letters, Result
from chaosd.experiment.plan import global_index
from chaosd.experiment.templates import fill

_ID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
# Gives identity and type of a result: of a callable in the user's own file.
Identify = Callable[[str, bytes | None, bytes | None, Mapping[str, bytes]], tuple[str | None, str | None]]


class MappedContent(Content):
    """`type` of an output's Inspection is the number of its result in the contract, UNKNOWN_TYPE for none of them.

    A stream belongs to one input of the contract: its template, its key, and the kinds of results that it owes.
    """

    def __init__(
        self,
        run_tag: int,
        seed: int,
        streams: int,
        base_wall_ns: int,
        contract: Contract,
        identify: Identify | None = None,
    ) -> None:
        self._contract = contract
        self._identify = identify
        self._dealt = contract.dealt(streams)
        self._sources = {one.topic: one.partitions for one in contract.inputs}
        self._owing = [contract.owing(kind) for kind in contract.kinds]
        super().__init__(run_tag, seed, streams, {}, base_wall_ns)

    def input_of(self, stream: int) -> Input:
        """The input that a stream belongs to."""
        return self._contract.inputs[self._dealt[stream]]

    def source_of(self, stream: int) -> tuple[str, int]:
        """The input topic of a stream, and its number of partitions."""
        own = self.input_of(stream)
        return own.topic, own.partitions

    def results_of(self, stream: int) -> int:
        """How many outputs an ordinary envelope of a stream gives: what is waited for, at least one."""
        owed = (one for number, one in enumerate(self._contract.results) if self._owes(stream, number))
        return max(1, sum(one.count for one in owed if not one.optional))

    def _own_key(self, stream: int) -> str:
        """The streams of an input are spread over its partitions in turn."""
        own = self.input_of(stream)
        turn = self._dealt[:stream].count(self._dealt[stream])
        return _key(own.key, stream, own.partitions, turn % own.partitions)

    def _owes(self, stream: int, number: int) -> bool:
        """Whether records of a stream owe results of this kind."""
        return self._dealt[stream] in self._owing[number]

    def values(self, stream: int, seq: int) -> dict[str, str]:
        """What fills the places of a template for (stream, seq)."""
        tick, time = self._tick(stream, seq), self._ts(stream, seq)
        return {
            "id": str(identity.pack(self._run_tag, stream, seq)),
            "seq": str(seq),
            "stream": str(stream),
            "key": self._keys[stream],
            "time": time.isoformat(timespec="milliseconds"),
            "time_ms": str(round(time.timestamp() * 1000)),
            "amount": tick["price"],
            "count": str(tick["volume"]),
        }

    def render(self, stream: int, seq: int, kind: int) -> Rendered:
        """The input record of (stream, seq)."""
        own, values = self.input_of(stream), self.values(stream, seq)
        value = fill(own.value, values).encode()
        if kind:
            value = spoil(KINDS[kind - 1], value, global_index(stream, seq, self._streams))
        key = self._keys[stream].encode()
        proof = identity.digest(self._run_tag, stream, seq, own.topic, key, value)
        headers = tuple((name, fill(text, values).encode()) for name, text in own.headers.items())
        return Rendered(key, value, (*headers, (HEADER_ID, values["id"].encode()), (HEADER_DIGEST, proof)))

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
        """Identify a record and compare it with the rules."""
        if role is Role.INPUT:
            return self._input(topic, partition, key or b"", value or b"", dict(headers))
        if role is Role.OUTPUT:
            return self._result(topic, key, value, dict(headers))
        if role is Role.INTERNAL:
            return self._passing(key, value, headers)
        if role is Role.TABLE:
            return self._row(topic, value or b"")
        return self._read_letter(key, value, headers, origin)

    def _result(self, topic: str, key: bytes | None, value: bytes | None, headers: dict[str, bytes]) -> Inspection:
        seen = self._seen(key, value, headers)
        carried, kind = self._names(topic, key, value, headers, seen)
        mine, deviation = self._whose(_uuid(carried))
        here = [(n, one) for n, one in enumerate(self._contract.results) if one.topic == topic]
        if mine is not None and not deviation:
            # What an input does not owe is no kind of results of it.
            here = [(n, one) for n, one in here if self._owes(mine.stream, n)]
        number, rule = next(((n, one) for n, one in here if one.type in ("", kind)), (UNKNOWN_TYPE, None))
        if rule is None:
            deviation |= Deviation.TYPE
        if mine is None or deviation & ~Deviation.TYPE:
            return Inspection(-1 if mine is None else mine.stream, -1 if mine is None else mine.seq, number, deviation)
        return Inspection(mine.stream, mine.seq, number, deviation | self._held(rule, mine, seen))

    def _passing(self, key: bytes | None, value: bytes | None, headers: Headers) -> Inspection:
        """A record between two services: whatever its shape, its identity is the one of this run that is in it."""
        told = b"\0".join((key or b"", value or b"", *(one or b"" for _, one in headers)))
        carried = {found for one in _ID.findall(told.decode("utf-8", "replace")) if (found := identity.unpack(one))}
        mine = [one for one in carried if one.run_tag == self._run_tag]
        if len(mine) != 1 or self._segment(mine[0].stream, mine[0].seq) is None:
            return Inspection(-1, -1, UNKNOWN_TYPE, Deviation.UNIDENTIFIED)
        return Inspection(mine[0].stream, mine[0].seq, UNKNOWN_TYPE, Deviation.NONE)

    def _row(self, topic: str, value: bytes) -> Inspection:
        """A row of a table, as JSON of its columns' texts."""
        number, table = next((n, one) for n, one in enumerate(self._contract.tables) if one.title == topic)
        row = json.loads(value)
        mine, deviation = self._whose(_uuid(row[table.key]))
        kind = len(self._contract.results) + number
        if mine is None or deviation:
            return Inspection(-1 if mine is None else mine.stream, -1 if mine is None else mine.seq, kind, deviation)
        if not self._owes(mine.stream, kind):
            return Inspection(mine.stream, mine.seq, UNKNOWN_TYPE, Deviation.TYPE)
        values = self.values(mine.stream, mine.seq)
        if any(row[column] != fill(text, values) for column, text in table.columns.items()):
            deviation |= Deviation.FIELD
        return Inspection(mine.stream, mine.seq, kind, deviation)

    def _seen(self, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> where.Seen:
        return where.Seen(key, events.body(value, headers) if self._contract.events else where.body(value), headers)

    def _names(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes], seen: where.Seen
    ) -> tuple[str | None, str | None]:
        """The identity and the type that a result carries."""
        if self._identify is not None:
            return self._identify(topic, key, value, headers)
        kind = where.find(self._contract.type, seen) if self._contract.type else where.ABSENT
        return where.as_text(where.find(self._contract.id, seen)), where.as_text(kind)

    def _held(self, rule: Result | None, mine: Identity, seen: where.Seen) -> Deviation:
        if rule is None:
            return Deviation.NONE
        values = self.values(mine.stream, mine.seq)
        deviation = Deviation.NONE
        if rule.key is not None and seen.key != fill(rule.key, values).encode():
            deviation |= Deviation.KEY
        for place, text in rule.fields.items():
            if where.as_text(where.find(place, seen)) != fill(text, values):
                deviation |= Deviation.FIELD
        return deviation

    def _read_letter(self, key: bytes | None, value: bytes | None, headers: Headers, origin: Origin) -> Inspection:
        letters = self._contract.letters or Letters()
        letter = (
            _placed(letters, key, value, headers)
            if letters.places
            else table.read(key, value, headers, letters.dialect)
        )
        if letter is None:
            return Inspection(-1, -1, UNKNOWN_TYPE, Deviation.UNIDENTIFIED | Deviation.UNDECODABLE)
        there = letter.topic if letter.partition < self._sources.get(letter.topic, 0) else ""
        at = origin(there, letter.partition, letter.offset) if there else None
        mine, deviation = self._whose(self._carried(letter))
        if at is not None and (mine is None or deviation or (mine.stream, mine.seq) != at):
            # The coordinates are the strongest evidence; another identity beside them is the letter's mistake.
            deviation = Deviation.NONE if mine is None else Deviation.COORDINATES
            mine = Identity(self._run_tag, *at)
        partition, offset = (letter.partition, letter.offset) if there else (-1, -1)
        if mine is None or deviation & (Deviation.FOREIGN | Deviation.UNPLANNED):
            where_to = (-1, -1) if mine is None else (mine.stream, mine.seq)
            return Inspection(*where_to, UNKNOWN_TYPE, deviation, partition, offset, there)
        deviation |= self._misplaced(mine, letter, letters)
        deviation |= self._wrong(mine, letter, letters)
        return Inspection(mine.stream, mine.seq, UNKNOWN_TYPE, deviation, partition, offset, there)

    def _misplaced(self, mine: Identity, letter: DeadLetter, letters: Letters) -> Deviation:
        """Whether what a letter says of where its original was is wrong: its topic is the one that it was sent to."""
        source, partitions = self.source_of(mine.stream)
        wrong = (not letters.places or "topic" in letters.places) and letter.topic != source
        if not letters.places or "offset" in letters.places:
            wrong |= letter.topic != source or not 0 <= letter.partition < partitions or letter.offset < 0
        return Deviation.COORDINATES if wrong else Deviation.NONE

    def _carried(self, letter: DeadLetter) -> str | None:
        """The identity that is left in what a letter carries of its original."""
        headers = dict(letter.headers)
        if HEADER_ID in headers:
            return headers[HEADER_ID].decode("ascii", "replace")
        if letter.value is None:
            return None
        # The template put the identity somewhere; in the original nothing else looks like one of this run's.
        found = [one for one in _ID.findall(letter.value.decode("utf-8", "replace")) if identity.unpack(one)]
        return found[0] if len(set(found)) == 1 else None

    def _wrong(self, mine: Identity, letter: DeadLetter, letters: Letters) -> Deviation:
        deviation = Deviation.NONE
        planned = self.kind(mine.stream, mine.seq) or 0
        sent = self.render(mine.stream, mine.seq, planned)
        if (not letters.places or "key" in letters.places) and letter.key != sent.key:
            deviation |= Deviation.KEY
        if letter.value is not None and letter.value not in _ways(sent.value, exact=letter.exact):
            deviation |= Deviation.PAYLOAD
        if letter.value is None and (not letters.places or "value" in letters.places):
            deviation |= Deviation.PAYLOAD
        if planned and letters.types:
            told = letters.types.get(letter.error_class.rpartition(".")[2], letters.types.get(letter.error_class, ""))
            if (told or letter.error_type) != ErrorType.POISON:
                deviation |= Deviation.ERROR_TYPE
        return deviation


def _placed(letters: Letters, key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
    """A letter in a dialect of the user's own; None where nothing that it should say is there."""
    seen = where.Seen(key, where.body(value), dict(headers))
    told = {part: where.as_text(where.find(place, seen)) for part, place in letters.places.items()}
    if all(text is None for text in told.values()):
        return None
    carried = told.get("value")
    # Without a place of its own, the letter's value is the original's.
    whole = "value" not in letters.places
    return DeadLetter(
        dialect="custom",
        topic=told.get("topic") or "",
        partition=_number(told.get("partition")),
        offset=_number(told.get("offset")),
        error_type=told.get("error_type") or "",
        error_class=told.get("error_class") or "",
        error_message=told.get("error_message") or "",
        key=None if told.get("key") is None else str(told["key"]).encode(),
        value=value if whole else None if carried is None else carried.encode(),
        headers=tuple(headers),
        exact=whole,
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else -1


def _ways(value: bytes, *, exact: bool) -> tuple[bytes, ...]:
    """How a letter may carry these bytes."""
    if exact:
        return (value,)
    try:
        value.decode()
    except UnicodeDecodeError:
        return (base64.b64encode(value), value.decode("utf-8", "replace").encode())
    return (value,)


def _uuid(text: str | None) -> str | None:
    """The one UUID in a text such as `order-UUID`."""
    found = _ID.findall(text) if text else []
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=4096)
def _key(template: str, stream: int, partitions: int, wanted: int) -> str:
    """The key of a stream. Where the template leaves a choice, one that goes to the partition `wanted`."""
    tries = (f"K{stream}{suffix}" for suffix in ("", *map(chr, range(65, 91)), *map(str, range(100, 1000))))
    made = (fill(template, {"key": key, "stream": str(stream)}) for key in tries)
    first = next(made)
    if partition_of(first.encode(), partitions) == wanted:
        return first
    return next((key for key in made if partition_of(key.encode(), partitions) == wanted), first)
