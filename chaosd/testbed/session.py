"""chaosd's own talks with Redis and PostgreSQL on their DIRECT side: a command, its answer, bounded in time.

No client library: a session must end with its socket and never hang in a clean-up (asyncpg asks a server that does not
answer to cancel, and waits for that), and a gauge is read several times a second. Formats: as in tongues.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from chaosd.journal.probes import ProbeOutcome
from chaosd.kernel.clock import Clock
from chaosd.kernel.errors import StackError
from chaosd.stack.address import Address
from chaosd.stack.handle import Postgres
from chaosd.testbed import tongues
from chaosd.testbed.tongues import Exchange
from chaosd.testbed.wire import Wire, dial

LIMIT_S = 2.0
# What every session of chaosd's is called: a fault on sessions must leave these alone.
NAMES = "chaosd"

Row = tuple[str | None, ...]


class Refused(StackError):
    """The server answered, with an error. `code` is PostgreSQL's SQLSTATE, or the first word of Redis' error."""

    def __init__(self, part: str, code: str, text: str) -> None:
        super().__init__(f"{part} refuses: {text}")
        self.code = code


@dataclass(frozen=True, slots=True)
class RedisError:
    """An error as an answer."""

    text: str

    @property
    def code(self) -> str:
        """Its first word, such as OOM."""
        return self.text.partition(" ")[0]


def parse_resp(data: bytes, at: int = 0) -> tuple[Any, int] | None:
    """One answer of Redis (RESP 2) from position `at`, and the position after it; None when it is not whole."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, line, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"$":
        size = int(line)
        if size < 0:
            return None, at
        return (data[at : at + size].decode(errors="replace"), at + size + 2) if len(data) >= at + size + 2 else None
    if kind == b"*":
        values = []
        for _ in range(int(line)):
            found = parse_resp(data, at)
            if found is None:
                return None
            value, at = found
            values.append(value)
        return values, at
    text = line.decode(errors="replace")
    return (int(text) if kind == b":" else RedisError(text) if kind == b"-" else text), at


def _answers(count: int) -> Any:
    def step(answer: bytearray) -> bool | None:
        return True if _values(bytes(answer), count) is not None else None

    return step


def _values(data: bytes, count: int) -> list[Any] | None:
    values, at = [], 0
    for _ in range(count):
        found = parse_resp(data, at)
        if found is None:
            return None
        value, at = found
        values.append(value)
    return values


class RedisSession:
    """One connection to Redis. Open it with `redis`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def ask(self, *commands: tuple[str, ...], limit_s: float = LIMIT_S) -> list[Any]:
        """Say commands in a row; their answers, errors as RedisError. Raises StackError when one does not come."""
        request = b"".join(tongues.command(*(word.encode() for word in words)) for words in commands)
        answer = await self._wire.ask(Exchange(request, _answers(len(commands))), limit_s)
        if answer.outcome is not ProbeOutcome.OK:
            raise StackError(f"redis does not answer {commands[0][0]} ({answer.outcome.name.lower()})")
        return _values(self._wire.said, len(commands)) or []

    async def do(self, *words: str) -> Any:
        """Say one command; its answer. Raises Refused for an error."""
        (answer,) = await self.ask(words)
        if isinstance(answer, RedisError):
            raise Refused("redis", answer.code, answer.text)
        return answer

    @property
    def open(self) -> bool:
        """Whether the connection is there."""
        return self._wire.open

    def close(self) -> None:
        """Drop it."""
        self._wire.close()


async def redis(address: Address, clock: Clock, name: str = NAMES) -> RedisSession:
    """A session under a name that CLIENT LIST shows. Raises Refused, and StackError when Redis cannot be reached."""
    wire = await dial(address, tongues.bare(), clock, LIMIT_S)
    if isinstance(wire, ProbeOutcome):
        raise StackError(f"redis cannot be reached at {address} ({wire.name.lower()})")
    session = RedisSession(wire)
    try:
        await session.do("CLIENT", "SETNAME", name)
    except BaseException:
        session.close()
        raise
    return session


class PostgresSession:
    """One session of PostgreSQL. It ends with its socket; a transaction that it left open is rolled back then."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def ask(self, query: str, limit_s: float = LIMIT_S) -> list[Row]:
        """Carry out a text of statements; the rows of all, as text. Raises Refused for an error, StackError when the
        answer does not come.
        """
        answer = await self._wire.ask(tongues.query(query), limit_s)
        rows, error = _read(self._wire.said)
        if error is not None:
            raise error
        if answer.outcome is not ProbeOutcome.OK:
            raise StackError(f"postgres does not answer ({answer.outcome.name.lower()}): {query}")
        return rows

    @property
    def open(self) -> bool:
        """Whether the session is there."""
        return self._wire.open

    def close(self) -> None:
        """Drop it."""
        self._wire.close()


def _read(answer: bytes) -> tuple[list[Row], Refused | None]:
    """The rows and the first error in the messages of an answer."""
    rows: list[Row] = []
    error, at = None, 0
    while len(answer) >= at + 5:
        kind, length = answer[at : at + 1], struct.unpack_from(">i", answer, at + 1)[0]
        body = answer[at + 5 : at + 1 + length]
        at += 1 + length
        if kind == b"D":
            rows.append(_row(body))
        elif kind == b"E" and error is None:
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
            error = Refused("postgres", fields.get(b"C", ""), fields.get(b"M", ""))
    return rows, error


def _row(body: bytes) -> Row:
    values: list[str | None] = []
    at = 2
    for _ in range(struct.unpack_from(">h", body)[0]):
        size = struct.unpack_from(">i", body, at)[0]
        at += 4
        values.append(None if size < 0 else body[at : at + size].decode())
        at += max(size, 0)
    return tuple(values)


async def postgres(own: Postgres, clock: Clock, name: str = NAMES) -> PostgresSession:
    """A session under an application name that pg_stat_activity shows (63 bytes of it).

    Raises Refused, and StackError when PostgreSQL cannot be reached.
    """
    address = Address(own.host, own.port)
    wire = await dial(address, tongues.bare(), clock, LIMIT_S)
    if isinstance(wire, ProbeOutcome):
        raise StackError(f"postgres cannot be reached at {address} ({wire.name.lower()})")
    try:
        answer = await wire.ask(tongues.startup(own.user, own.password, own.database, name)(), LIMIT_S)
    except BaseException:
        wire.close()
        raise
    if answer.outcome is ProbeOutcome.OK:
        return PostgresSession(wire)
    wire.close()
    _, error = _read(wire.said)
    raise error or StackError(f"postgres at {address} does not let {own.user} in ({answer.outcome.name.lower()})")
