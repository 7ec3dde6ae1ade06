"""When a process of a target file serves: its log, a port, a URL, a consumer group; all that it names must hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from chaosd.kernel.clock import SECOND, Clock, SystemClock
from chaosd.kernel.errors import StackError
from chaosd.process import patience, spawn
from chaosd.target.progress import GroupState, group_state, open_admin

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

_LOOK_EVERY_S = 0.05
_TIMEOUT_S = 60.0
_CALL_S = 1.0
_ANSWER_BYTES = 64


async def wait(
    handle: spawn.Handle, log: Path, log_from: int, ready: Mapping[str, str], bootstrap: str, clock: Clock | None = None
) -> tuple[int, int]:
    """Wait until a process serves. Gives CLOCK_MONOTONIC of the last look that found it not ready and of the first that
    did. Raises StackError, with the end of its log, when it ends or is not ready in time.
    """
    clock = clock or SystemClock()
    low_ns = clock.now_ns()
    limit_s = _TIMEOUT_S * patience.scale()
    deadline_ns = low_ns + round(limit_s * SECOND)
    async with _Groups(bootstrap) as groups:
        while True:
            look_ns = clock.now_ns()
            if not spawn.alive(handle):
                raise StackError("a process of the target ended while it was starting", detail=spawn.tail(str(log)))
            waits_for = await _lacks(log, log_from, ready, groups)
            if not waits_for:
                return low_ns, clock.now_ns()
            if look_ns > deadline_ns:
                raise StackError(
                    f"the target is not ready after {limit_s:g} s: waited for {waits_for}", detail=spawn.tail(str(log))
                )
            low_ns = look_ns
            await asyncio.sleep(_LOOK_EVERY_S)


async def groups_stable(names: tuple[str, ...], bootstrap: str, clock: Clock | None = None) -> tuple[int, int]:
    """Wait until all these groups are Stable with members; times as in `wait`. Raises StackError when they are not."""
    clock = clock or SystemClock()
    low_ns = clock.now_ns()
    limit_s = _TIMEOUT_S * patience.scale()
    deadline_ns = low_ns + round(limit_s * SECOND)
    async with _Groups(bootstrap) as groups:
        while True:
            look_ns = clock.now_ns()
            missing = [(name, state) for name in names if not (state := await groups.state(name)).ready]
            if not missing:
                return low_ns, clock.now_ns()
            if look_ns > deadline_ns:
                raise _nobody_reads(limit_s, *missing[0])
            low_ns = look_ns
            await asyncio.sleep(_LOOK_EVERY_S)


def _nobody_reads(limit_s: float, group: str, state: GroupState) -> StackError:
    if state.given_nothing:
        return StackError(
            f"after {limit_s:g} s the members of consumer group {group!r} have no partition to read",
            remedy="a client that began before its topics were there may look for them after minutes: start it again",
        )
    return StackError(
        f"after {limit_s:g} s nobody reads as consumer group {group!r}",
        remedy="does the target file name the group that the pipeline uses?",
    )


class _Groups:
    """Asks Kafka for the state of groups, with a client that is opened when it is needed."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._admin is not None:
            await self._admin.close()

    async def state(self, group: str) -> GroupState:
        """As Kafka tells it; with no word and no member where it does not answer."""
        from aiokafka.errors import KafkaError  # noqa: PLC0415 - `chaosd heal` must begin within a second, without it

        try:
            self._admin = self._admin or await open_admin(self._bootstrap)
            return await group_state(self._admin, group)
        except (KafkaError, OSError, TimeoutError):
            return GroupState("", 0)


async def _lacks(log: Path, log_from: int, ready: Mapping[str, str], groups: _Groups) -> str:
    """What is still missing, in words; empty when it serves."""
    if (text := ready.get("log")) and not _written(log, log_from, text):
        return f"{text!r} in its log"
    if (place := ready.get("tcp")) and not await _answers(place):
        return f"{place} to take connections"
    if (url := ready.get("http")) and not await _good(url):
        return f"{url} to answer with 2xx"
    # Of several inputs each may have a group of its own: one a line.
    for group in ready.get("group", "").splitlines():
        state = await groups.state(group)
        if state.given_nothing:
            return f"partitions for the members of consumer group {group!r}"
        if not state.ready:
            return f"a Stable consumer group {group!r} with a member"
    return ""


def _written(log: Path, log_from: int, text: str) -> bool:
    try:
        with log.open("rb") as file:
            file.seek(log_from)
            return text.encode() in file.read()
    except FileNotFoundError:
        return False


async def _answers(place: str) -> bool:
    host, _, port = place.rpartition(":")
    return await _talk(host, int(port), b"") is not None


async def _good(url: str) -> bool:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode()
    answer = await _talk(parts.hostname or "", parts.port or 80, request)
    # HTTP/1.1 204 No Content
    words = (answer or b"").split(maxsplit=2)
    return len(words) > 1 and words[1].startswith(b"2")


async def _talk(host: str, port: int, request: bytes) -> bytes | None:
    """The beginning of the answer; None where nobody is."""
    try:
        async with asyncio.timeout(_CALL_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                if not request:
                    return b""
                writer.write(request)
                return await reader.read(_ANSWER_BYTES)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
