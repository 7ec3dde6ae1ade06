"""Gauges: what servers tell is read again and again, whatever happens to the session."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import StackError
from chaosd.testbed import session
from chaosd.testbed.gauges import Gauges, Meters
from chaosd.testbed.session import RedisError, parse_resp

CLOCK = SystemClock()


class Server:
    """Stands in for a server: counts, and fails as often as it is told."""

    def __init__(self, fails: int = 0) -> None:
        self.opened = self.closed = self.read = 0
        self.fails = fails

    @asynccontextmanager
    async def session(self, testbed):
        self.opened += 1

        async def read():
            self.read += 1
            if self.fails:
                self.fails -= 1
                raise StackError("it cannot tell")
            return (self.read, 40)

        try:
            yield read
        finally:
            self.closed += 1


async def rows_of(server: Server, enough: int, *sets: Gauges) -> tuple[list[tuple[int, ...]], tuple[str, ...]]:
    rows: list[tuple[int, ...]] = []
    meters = Meters(SimpleNamespace(), CLOCK, rows.append)
    running = asyncio.create_task(meters.run())
    titles = meters.watch(sets)
    async with asyncio.timeout(5):
        while len(rows) < enough:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    return rows, titles


async def test_values_are_read_again_and_again_and_the_session_is_closed_in_the_end():
    server = Server()
    rows, titles = await rows_of(server, 6, Gauges("redis", ("seen", "level"), server.session))
    assert titles == ("redis.seen", "redis.level")
    assert [row[1:] for row in rows[:4]] == [(0, 1), (1, 40), (0, 2), (1, 40)]
    assert server.opened == server.closed == 1


async def test_session_that_fails_is_opened_anew_and_leaves_no_rows():
    server = Server(fails=2)
    rows, _ = await rows_of(server, 2, Gauges("redis", ("seen", "level"), server.session))
    assert rows[0][2] == 3
    assert server.opened == server.closed == 3


async def test_same_gauges_of_two_faults_are_read_once():
    server = Server()
    same = [Gauges("redis", ("seen", "level"), server.session) for _ in range(2)]
    _, titles = await rows_of(server, 4, *same)
    assert len(titles) == 2
    assert server.opened == 1


def encoded(value) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, RedisError):
        return b"-" + value.text.encode() + b"\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))
    return b"$%d\r\n" % len(value.encode()) + value.encode() + b"\r\n"


ANSWERS = st.recursive(
    st.none() | st.integers() | st.text() | st.builds(RedisError, st.from_regex(r"[A-Z]+ [a-z ]*", fullmatch=True)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(ANSWERS, st.data())
def test_answer_of_redis_is_read_when_it_is_whole_and_not_before(value, data):
    whole = encoded(value)
    assert parse_resp(whole + b":1\r\n") == (value, len(whole))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert parse_resp(whole[:cut]) is None


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


@given(st.lists(st.lists(st.none() | st.text(), max_size=4), max_size=4))
def test_rows_of_postgres_are_read(rows):
    def field(value: str | None) -> bytes:
        return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value.encode())) + value.encode()

    data = b"".join(
        message(b"D", struct.pack(">h", len(row)) + b"".join(map(field, row))) for row in rows
    ) + message(b"Z", b"I")  # fmt: skip
    assert session._read(data) == ([tuple(row) for row in rows], None)


def test_error_of_postgres_keeps_its_code():
    fields = b"SERROR\0C55P03\0Mcanceling statement due to lock timeout\0\0"
    _, error = session._read(message(b"E", fields) + message(b"Z", b"I"))
    assert error is not None
    assert error.code == "55P03"
    with pytest.raises(StackError, match="postgres refuses: canceling statement"):
        raise error
