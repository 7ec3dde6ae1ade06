"""Run data on its way to disk: facts in a hash chain, and the seal over everything. Columns are in `stream.py`.

Durable means: `fdatasync` has returned before the call does. A folder entry is made durable once, when its file is
made. Everything a process flushed survives its SIGKILL; everything durable survives the power cut.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import msgspec

from chaosd.kernel.clock import Clock
from chaosd.kernel.errors import JournalError

VERSION = 1
SEAL_PROCESS = "conductor"
# What the seal covers, in the run directory itself.
SEALED = ("facts-*.jsonl", "*.arrows", "witness-*.jsonl", "experiment.json")

_SECRET_KEY = re.compile(r"password|token|secret", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+(?=@)")
_RESERVED = frozenset({"n", "t_ns", "kind", "prev"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def _failed(path: Path, error: OSError) -> JournalError:
    remedy = "free space on that disk and run again" if error.errno in _FULL else "check the run directory and its disk"
    return JournalError(f"cannot write {path}: {error.strerror or error}", remedy=remedy)


def _plain(value: object) -> object:
    if tolist := getattr(value, "tolist", None):  # numpy's, which a process that writes only facts need not load
        return tolist()
    return list(value) if isinstance(value, set | frozenset) else str(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def redact(value: Any, key: str = "") -> Any:
    """The same value without secrets: what stands under a key like `password`, and passwords in URLs."""
    if key and _SECRET_KEY.search(key) and value not in (None, ""):
        return "***"
    if isinstance(value, str):
        return _SECRET_IN_URL.sub(r"\1:***", value) if "://" in value else value
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(k): redact(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(v) for v in value]
    return value


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class File:
    """An append-only file with one writer. What cannot be written whole is taken back, so that it stays readable."""

    def __init__(self, path: Path, flags: int = 0) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
        except OSError as error:
            raise _failed(path, error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.length = os.fstat(self._fd).st_size
            _sync_folder(path.parent)
        except BlockingIOError as error:
            os.close(self._fd)
            raise JournalError(f"{path} is being written by another process or is still open here") from error
        except OSError as error:
            os.close(self._fd)
            raise _failed(path, error) from error

    def append(self, data: bytes) -> None:
        """Add bytes at the end. Raises JournalError, and then none of them is there."""
        if self.closed:
            raise ValueError(f"{self.path} is closed")
        left = memoryview(data)
        position = self.length
        try:
            while left:
                written = os.pwrite(self._fd, left, position)
                position += written
                left = left[written:]
        except OSError as error:
            os.ftruncate(self._fd, self.length)
            raise _failed(self.path, error) from error
        self.length = position

    def sync(self) -> None:
        """Make what was added durable."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _failed(self.path, error) from error

    def cut(self, length: int) -> None:
        """Take back what is beyond a length."""
        os.ftruncate(self._fd, length)
        self.length = length

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._fd < 0

    def close(self) -> None:
        """Close it; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def facts_path(run_dir: Path, process: str) -> Path:
    """The facts file of one process."""
    return run_dir / f"facts-{process}.jsonl"


class Facts:
    """The facts that one process states, each line chained to the one before by its SHA-256.

    Opening a file that exists goes on with its chain (a respawned watchdog), and cuts a line that was not finished.
    """

    def __init__(self, run_dir: Path, process: str, clock: Clock) -> None:
        self.process = process
        self._clock = clock
        self._file = File(facts_path(run_dir, process))
        self._n = 0
        self.head = ""
        if self._file.length:
            self._resume()

    def _resume(self) -> None:
        data = self._file.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._file.cut(len(whole))
        if whole:
            self._n = whole.count(b"\n")
            self.head = hashlib.sha256(whole[:-1].rpartition(b"\n")[2]).hexdigest()

    def append(self, kind: str, *, durable: bool = False, **fields: Any) -> int:
        """State a fact; gives its number. With `durable` it is on the disk when this returns.

        Values may be what JSON knows, dataclasses, enums and numpy scalars; secrets are blotted out. Raises
        JournalError when it cannot be written (disk full), ValueError for a field with a reserved name.
        """
        if clash := _RESERVED & fields.keys():
            raise ValueError(f"reserved names in a fact: {sorted(clash)}")
        n = self._n
        if n == 0:
            fields.setdefault("version", VERSION)
        line = _encoder.encode(
            {"n": n, "t_ns": self._clock.now_ns(), "kind": kind, **redact(fields), "prev": self.head}
        )
        self._file.append(line + b"\n")
        self._n = n + 1
        self.head = hashlib.sha256(line).hexdigest()
        if durable:
            self._file.sync()
        return n

    def sync(self) -> None:
        """Make everything stated so far durable. May be called from a thread while others append."""
        self._file.sync()

    @property
    def length(self) -> int:
        """Bytes written."""
        return self._file.length

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()


class Witness:
    """Raw bytes of records that are not plainly right, as JSON lines, so that they can be judged again. Bounded."""

    def __init__(self, run_dir: Path, process: str, limit: int = 10_000) -> None:
        self._file = File(run_dir / f"witness-{process}.jsonl", os.O_EXCL)
        self._limit = limit
        self.dropped = 0
        self.kept = 0

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep one record, or count it as dropped when there are enough."""
        if self.kept >= self._limit:
            self.dropped += 1
            return
        self._file.append(_encoder.encode(record) + b"\n")
        self.kept += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def digest_file(path: Path, length: int | None = None) -> tuple[int, str]:
    """Length and SHA-256 of a file, or of its first `length` bytes."""
    digest = hashlib.sha256()
    left = length if length is not None else path.stat().st_size
    total = 0
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            digest.update(chunk)
            total += len(chunk)
            left -= len(chunk)
    return total, digest.hexdigest()


def chain_head(path: Path) -> str:
    """The hash of the last whole line of a facts file; empty when there is none."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return hashlib.sha256(whole.rpartition(b"\n")[2]).hexdigest() if whole else ""


def seal(run_dir: Path, clock: Clock, facts: Facts | None = None) -> str:
    """State the last fact of the conductor: length and hash of every file, the heads of all chains. Gives its hash.

    `facts` are the conductor's, if it has them open; they are closed. All other writers must have ended. Raises
    JournalError when the run directory cannot be read or written.
    """
    own = facts or Facts(run_dir, SEAL_PROCESS, clock)
    try:
        own.sync()
        paths = sorted({path for pattern in SEALED for path in run_dir.glob(pattern)})
        files = []
        for path in paths:
            length, digest = digest_file(path)
            files.append({"name": path.name, "length": length, "sha256": digest})
        heads = {path.stem.removeprefix("facts-"): chain_head(path) for path in run_dir.glob("facts-*.jsonl")}
        own.append("sealed", durable=True, files=files, heads=dict(sorted(heads.items())))
        return own.head
    except OSError as error:
        raise _failed(run_dir, error) from error
    finally:
        own.close()
