"""Controls a child process with JSON lines: commands on its standard input, events on its standard output.

The end of a stream is a message too: a child whose input ends knows that its parent is gone, a parent whose child's
output ends knows that the child is. A line is one JSON object of at most `LINE_BYTES_MAX` bytes.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import contextlib
import os
import select
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from chaosd.kernel.errors import StackError

LINE_BYTES_MAX = 1 << 20
# Events that wait because the parent does not read. Progress is repeated anyway, so the oldest may go.
_PENDING_MAX = 2_000
_FLUSH_AT_EXIT_S = 2.0

_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder()


def _parse(line: bytes) -> dict[str, Any] | None:
    """The object of one line, None when the line is not one (a process that was killed while it wrote)."""
    try:
        value = _decoder.decode(line)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Lines until the end of the stream; one that is longer than allowed is skipped."""
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                yield end.partial
            return
        except asyncio.LimitOverrunError as overrun:
            await reader.readexactly(overrun.consumed)
            continue
        except (ConnectionResetError, BrokenPipeError):
            return
        yield line


def _open_log(path: Path) -> IO[bytes]:
    return path.open("ab")


def _open_input() -> IO[bytes]:
    return os.fdopen(os.dup(0), "rb", buffering=0)


class Child:
    """A process of chaosd, started and followed by this one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._readers = 0
        self.garbled = 0  # lines that were not JSON objects

    @classmethod
    async def start(
        cls,
        argv: str | Sequence[str],
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        own_session: bool = True,
        stderr_log: Path | None = None,
    ) -> Child:
        """Start it. `argv` is an argument list, or the name of one of chaosd's programs (process/load.py).

        `args` are appended, `env` None inherits ours, standard error is appended to `stderr_log` (None: ours). With
        `own_session` a Ctrl-C in the terminal reaches only us. Raises StackError when it cannot be started.
        """
        command = [sys.executable, "-m", "chaosd.process.load", argv] if isinstance(argv, str) else list(argv)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(_open_log(stderr_log)) if stderr_log is not None else None
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *args,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=dict(env) if env is not None else None,
                    start_new_session=own_session,
                    limit=LINE_BYTES_MAX,
                )
            except OSError as error:
                raise StackError(f"cannot start {command[0]}: {error}") from error
        return cls(process)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit code (negative: the signal), None while it runs."""
        return self._process.returncode

    async def send(self, command: Mapping[str, Any]) -> bool:
        """Send one command. False when the child is gone or has closed its input."""
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            return False
        try:
            stdin.write(_encoder.encode(command) + b"\n")
            await stdin.drain()
        except (ConnectionResetError, BrokenPipeError):
            return False
        return True

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What the child says, until its output ends. One reader at a time; it may be left and taken up again."""
        if self._process.stdout is None:
            return
        self._readers += 1
        try:
            async for line in _lines(self._process.stdout):
                event = _parse(line)
                if event is None:
                    self.garbled += 1
                else:
                    yield event
        finally:
            self._readers -= 1

    async def wait(self) -> int:
        """Wait for its end; gives the exit code (negative: the signal)."""
        return await self._process.wait()

    def hang_up(self) -> None:
        """Close the child's input, which it takes as the death of its parent."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def close(self, deadline_s: float = 5.0) -> int:
        """Hang up, wait for its end, and kill it after `deadline_s`. Gives the code.

        What it still says is read away, unless somebody is at `events()`.
        """
        self.hang_up()
        try:
            async with asyncio.timeout(deadline_s):
                if not self._readers:
                    async for _ in self.events():
                        pass
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    def kill(self) -> None:
        """SIGKILL; does nothing when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class Parent:
    """The other end, inside the child: `commands()` in, `emit()` out.

    Makes standard output its own: what libraries print goes to standard error from here on. Emitting never blocks: a
    parent that does not read loses the oldest events, not the child's time. Not for use from several threads.
    """

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)
        mode = os.fstat(self._out).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            os.set_blocking(self._out, False)
        self._pending: collections.deque[bytes] = collections.deque()
        self._waiting: asyncio.AbstractEventLoop | None = None
        self.gone = False
        atexit.register(self.flush, _FLUSH_AT_EXIT_S)

    @classmethod
    def open(cls) -> Parent:
        """Take the standard streams of this process."""
        return cls()

    async def commands(self) -> AsyncIterator[dict[str, Any]]:
        """Commands until the parent closes the stream or dies; lines that are no JSON object are answered."""
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), _open_input())
        except (ValueError, OSError):  # neither a pipe nor a socket: nobody is there to command us
            return
        try:
            async for line in _lines(reader):
                command = _parse(line)
                if command is None:
                    self.emit({"event": "error", "message": "a command was not a JSON object", "remedy": "", "exit": 2})
                else:
                    yield command
        finally:
            transport.close()

    def emit(self, event: Mapping[str, Any]) -> None:
        """Say something to the parent; dropped when it is gone."""
        if self.gone:
            return
        if len(self._pending) >= _PENDING_MAX:
            self._drop_one()
        self._pending.append(_encoder.encode(event) + b"\n")
        self._write()
        if self._pending and self._waiting is None:
            with contextlib.suppress(RuntimeError):  # no loop yet: the next emit or flush writes it
                self._waiting = asyncio.get_running_loop()
                self._waiting.add_writer(self._out, self._write)

    def _drop_one(self) -> None:
        # The first may be half written: dropping it would garble the next.
        first = self._pending.popleft()
        self._pending.popleft()
        self._pending.appendleft(first)

    def _write(self) -> None:
        try:
            while self._pending:
                line = self._pending[0]
                written = os.write(self._out, line)
                if written < len(line):
                    self._pending[0] = line[written:]
                else:
                    self._pending.popleft()
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
            self._pending.clear()
        if self._waiting is not None:
            self._waiting.remove_writer(self._out)
            self._waiting = None

    def flush(self, timeout_s: float) -> bool:
        """Write what waits, blocking for at most `timeout_s`. True when all is written (or the parent is gone)."""
        deadline = time.monotonic() + timeout_s
        self._write_blind()
        while self._pending and (left_s := deadline - time.monotonic()) > 0:
            select.select([], [self._out], [], left_s)
            self._write_blind()
        return not self._pending

    def _write_blind(self) -> None:
        # At exit the loop is closed: its writer must not be touched any more.
        if self._waiting is not None and self._waiting.is_closed():
            self._waiting = None
        self._write()
