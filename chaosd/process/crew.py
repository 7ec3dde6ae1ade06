"""Several processes that work on parts of one thing, and tell each other what they found.

They are forked, so all of them have what was there before: large structures need not be sent. Everybody runs the same
code; where it needs what the others found, it calls `exchange`, and gets what each found in the order of the parts.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from chaosd.kernel.errors import ChaosdError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")
_JOBS_MAX = 4  # each takes memory of its own
_END_S = 5.0


class Exchange(Protocol):
    """Tell all others what this process found: gives what each found, its own included, in the order of the parts."""

    def __call__(self, own: T, /) -> list[T]:
        """Wait for all others to come here too."""


def alone(own: T) -> list[T]:
    """The exchange of the only process."""
    return [own]


def jobs_here() -> int:
    """As many processes as may run at a time; one where forking is not safe, because there are other threads."""
    if sys.platform != "linux" or threading.active_count() > 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        return 1
    return min(len(os.sched_getaffinity(0)), _JOBS_MAX)


def work_in_parts(parts: Sequence[P], work: Callable[[P, Exchange], R]) -> list[R]:
    """The results of `work` on each part, in their order: the first is done here, each other in a process of its own.

    Raises ChaosdError when a process ends before it is done.
    """
    first, *others = parts
    if not others:
        return [work(first, alone)]
    crew: list[_Member] = []
    try:
        for number, part in enumerate(others, start=1):
            lines = [member.line for member in crew]
            crew.append(_start(_Place(number, len(others)), part, work, lines))
        result = work(first, lambda own: _tell_all(crew, own))
        return [result, *(pickle.loads(member.hear()) for member in crew)]  # noqa: S301 - from our own process
    finally:
        for member in crew:
            member.end()


@dataclass(frozen=True, slots=True)
class _Place:
    """Which of the parts a process works on, counted from 0, and how many others there are."""

    number: int
    others: int


class _Member:
    """Another process, seen from the first."""

    def __init__(self, process: Any, line: Connection) -> None:
        self.process = process
        self.line = line

    def hear(self) -> bytes:
        try:
            return self.line.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def tell(self, message: bytes) -> None:
        try:
            self.line.send_bytes(message)
        except OSError as error:
            raise self._ended() from error

    def _ended(self) -> ChaosdError:
        self.process.join(_END_S)
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return ChaosdError(
            f"a worker process {how} before it was done: there is no result",
            remedy="see whether memory ran short, and try again with fewer jobs",
        )

    def end(self) -> None:
        self.line.close()
        self.process.kill()
        self.process.join()


def _tell_all(crew: list[_Member], own: Any) -> list[Any]:
    """The exchange of the first process, through which the others hear each other too."""
    heard = [member.hear() for member in crew]
    messages = [pickle.dumps(own, pickle.HIGHEST_PROTOCOL), *heard]
    for number, member in enumerate(crew, start=1):
        for message in (*messages[:number], *messages[number + 1 :]):
            member.tell(message)
    return [own, *map(pickle.loads, heard)]


def _start(place: _Place, part: P, work: Callable[[P, Exchange], R], lines: list[Connection]) -> _Member:
    import multiprocessing  # noqa: PLC0415 - most work is done by one process

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_member, args=(place, part, work, theirs, [*lines, ours]), daemon=True
    )
    process.start()
    theirs.close()
    return _Member(process, ours)


def _member(
    place: _Place, part: P, work: Callable[[P, Exchange], R], line: Connection, of_the_first: list[Connection]
) -> None:
    """What another process does. When the first one ends there is nobody to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in of_the_first:
        other.close()  # or this process would keep open what tells the others that the first has ended

    def exchange(own: Any) -> list[Any]:
        line.send_bytes(pickle.dumps(own, pickle.HIGHEST_PROTOCOL))
        heard = [line.recv_bytes() for _ in range(place.others)]
        found = list(map(pickle.loads, heard))
        found.insert(place.number, own)
        return found

    with contextlib.suppress(EOFError, BrokenPipeError):
        line.send_bytes(pickle.dumps(work(part, exchange), pickle.HIGHEST_PROTOCOL))
    os._exit(0)
