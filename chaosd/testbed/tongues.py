"""What the canaries say to each part, in its own protocol, on a bare socket: one request, and when its answer is whole.

Redis: redis.io/docs/reference/protocol-spec. Kafka: kafka.apache.org/protocol, ApiVersions v0. PostgreSQL 3.0:
postgresql.org/docs/current/protocol-message-formats.html. No client library: it would retry, pool and hide what a
probe must see, and cost more than the probe.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from chaosd.testbed.scram import Scram

# Looks at all bytes of the answer so far: None, more must come; bytes, say this next; True or False, answered, and well
# or with an error.
Step = Callable[[bytearray], bytes | bool | None]

NAME = b"chaosd-canary"
_PROTOCOL_3 = 3 << 16
_API_VERSIONS = 18
_CLIENT_ID_MAX = 30_000  # an int16 counts it
_API_VERSIONS_ANSWER = 456  # bytes; a broker of 4.1


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and how to read its answer."""

    request: bytes
    step: Step


@dataclass(frozen=True, slots=True)
class Tongue:
    """How one part is spoken to. `greet` makes what a fresh connection begins with, None where it begins with nothing.

    `up(size)` is a large request with a small answer, `down(size)` the other way round.
    """

    ping: Exchange
    up: Callable[[int], Exchange]
    down: Callable[[int], Exchange]
    greet: Callable[[], Exchange] | None = None


def _resp(answer: bytearray) -> bool | None:
    end = answer.find(b"\r\n")
    if end < 0:
        return None
    if answer[:1] == b"$":
        return None if len(answer) < end + 2 + int(answer[1:end]) + 2 else True
    return answer[:1] != b"-"


def command(*words: bytes) -> bytes:
    """A command of Redis."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def bare() -> Tongue:
    """Nothing is said to begin with: whoever opens the connection speaks by itself."""
    silent = Exchange(b"", lambda answer: True)
    return Tongue(silent, lambda size: silent, lambda size: silent)


def redis() -> Tongue:
    """PING; EXISTS of a long key; a long string made by a script that touches no key."""

    def up(size: int) -> Exchange:
        return Exchange(command(b"EXISTS", NAME + b"x" * size), _resp)

    def down(size: int) -> Exchange:
        return Exchange(command(b"EVAL", b"return string.rep('x', ARGV[1])", b"0", b"%d" % size), _resp)

    # Named, so that a fault on the target's connections can leave it alone.
    return Tongue(Exchange(b"PING\r\n", _resp), up, down, lambda: Exchange(command(b"CLIENT", b"SETNAME", NAME), _resp))


def _api_versions(client_id: bytes) -> bytes:
    body = struct.pack(">hhih", _API_VERSIONS, 0, 1, len(client_id)) + client_id
    return struct.pack(">i", len(body)) + body


def _answers(count: int) -> Step:
    """`count` answers in a row, each with its length in front. An error code follows the correlation id."""

    def step(answer: bytearray) -> bool | None:
        at, seen, well = 0, 0, True
        while len(answer) >= at + 4:
            length = struct.unpack_from(">i", answer, at)[0]
            if len(answer) < at + 4 + length:
                return None
            well = well and struct.unpack_from(">h", answer, at + 8)[0] == 0
            at += 4 + length
            seen += 1
            if seen >= count:
                return well
        return None

    return step


def kafka() -> Tongue:
    """ApiVersions; the same with long client ids; many at once, whose answers are larger than the requests."""

    def up(size: int) -> Exchange:
        whole, rest = divmod(size, _CLIENT_ID_MAX)
        sizes = [_CLIENT_ID_MAX] * whole + ([rest] if rest else [])
        request = b"".join(_api_versions(NAME + b"x" * length) for length in sizes)
        return Exchange(request, _answers(len(sizes)))

    def down(size: int) -> Exchange:
        count = max(1, round(size / _API_VERSIONS_ANSWER))
        return Exchange(_api_versions(b"c") * count, _answers(count))

    return Tongue(Exchange(_api_versions(NAME), _answers(1)), up, down)


def _messages(answer: bytearray) -> tuple[bool, bool, bool]:
    """Whether ReadyForQuery has come, whether an error has, and whether the last message is whole."""
    at, failed = 0, False
    while len(answer) >= at + 5:
        length = struct.unpack_from(">i", answer, at + 1)[0]
        if len(answer) < at + 1 + length:
            return False, failed, False
        kind = answer[at : at + 1]
        failed = failed or kind == b"E"
        if kind == b"Z":
            return True, failed, True
        at += 1 + length
    return False, failed, at == len(answer)


def _queried(answer: bytearray) -> bool | None:
    ready, failed, _ = _messages(answer)
    return not failed if ready else None


def query(text: str) -> Exchange:
    """A text of SQL statements; well when none of them failed."""
    return Exchange(_query(text.encode()), _queried)


def _query(text: bytes) -> bytes:
    return b"Q" + struct.pack(">i", len(text) + 5) + text + b"\0"


def startup(user: str, password: str, database: str, name: str) -> Callable[[], Exchange]:
    """How a session begins, under the application name `name`."""
    settings = {"user": user, "database": database, "application_name": name}
    words = b"".join(f"{name}\0{value}\0".encode() for name, value in settings.items()) + b"\0"
    request = struct.pack(">ii", len(words) + 8, _PROTOCOL_3) + words

    def greet() -> Exchange:
        scram = Scram(password)

        def step(answer: bytearray) -> bytes | bool | None:
            ready, failed, whole = _messages(answer)
            if ready or failed:
                return not failed
            if whole and (said := scram.next(answer)):
                # What was answered is done with: only the server's next messages count.
                answer.clear()
                return said
            return None

        return Exchange(request, step)

    return greet


def postgres(user: str, password: str, database: str) -> Tongue:
    """An empty query; the length of a long text; a long text."""

    def up(size: int) -> Exchange:
        return Exchange(_query(b"SELECT length('" + b"x" * size + b"')"), _queried)

    def down(size: int) -> Exchange:
        return Exchange(_query(b"SELECT repeat('x', %d)" % size), _queried)

    return Tongue(Exchange(_query(b";"), _queried), up, down, startup(user, password, database, NAME.decode()))
