"""The only writer of run data: facts in a hash chain, columns in Arrow streams, and the seal over both.

Durable means: `fdatasync` has returned before the call does. A folder entry is made durable once, when its file is
made. Everything a process flushed survives its SIGKILL; everything durable survives the power cut.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chaosd.journal.arrow import Encoder
from chaosd.journal.columns import Schema
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
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | set | frozenset):
        return list(value)
    return str(value)


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


class _File:
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
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _failed(self.path, error) from error

    def cut(self, length: int) -> None:
        os.ftruncate(self._fd, length)
        self.length = length

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def facts_path(run_dir: Path, process: str) -> Path:
    """The facts file of one process."""
    return run_dir / f"facts-{process}.jsonl"


def columns_path(run_dir: Path, process: str, schema: Schema) -> Path:
    """The file of one kind of rows of one process."""
    return run_dir / f"{schema.name}-{process}.arrows"


class Facts:
    """The facts that one process states, each line chained to the one before by its SHA-256.

    Opening a file that exists goes on with its chain (a respawned watchdog), and cuts a line that was not finished.
    """

    def __init__(self, run_dir: Path, process: str, clock: Clock) -> None:
        self.process = process
        self._clock = clock
        self._file = _File(facts_path(run_dir, process))
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


class Columns:
    """Rows of one kind, of one process. Rows wait in memory until `flush`, which writes them as one batch."""

    def __init__(self, run_dir: Path, process: str, schema: Schema) -> None:
        self._dtype = schema.dtype
        self._file = _File(columns_path(run_dir, process, schema), os.O_EXCL)
        self._encoder = Encoder(schema.dtype)
        self._arrays: list[np.ndarray] = []
        self._rows: list[tuple[int, ...]] = []

    def append(self, rows: np.ndarray | tuple[int, ...]) -> None:
        """Add one row as a tuple in the order of the schema, or an array of rows."""
        if isinstance(rows, tuple):
            self._rows.append(rows)
        else:
            self._settle()
            self._arrays.append(np.asarray(rows, self._dtype).reshape(-1).copy())

    def extend(self, rows: Sequence[tuple[int, ...]]) -> None:
        """Add several rows given as tuples."""
        self._rows.extend(rows)

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._rows) + sum(map(len, self._arrays))

    def _settle(self) -> None:
        if self._rows:
            self._arrays.append(np.array(self._rows, self._dtype))
            self._rows = []

    def flush(self, *, durable: bool = False) -> None:
        """Write what waits as one batch. Raises JournalError when the disk is full."""
        self._settle()
        if self._arrays:
            batch = self._arrays[0] if len(self._arrays) == 1 else np.concatenate(self._arrays)
            self._arrays = []
            if len(batch):
                self._file.append(self._encoder.encode(batch))
        if durable:
            self._file.sync()

    def sync(self) -> None:
        """Make what was flushed durable. May be called from a thread while others flush."""
        self._file.sync()

    def close(self) -> None:
        """Flush, make durable and close; a second time does nothing."""
        if not self._file.closed:
            self.flush(durable=True)
            self._file.close()


class Witness:
    """Raw bytes of records that are not plainly right, as JSON lines, so that they can be judged again. Bounded."""

    def __init__(self, run_dir: Path, process: str, limit: int = 10_000) -> None:
        self._file = _File(run_dir / f"witness-{process}.jsonl", os.O_EXCL)
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
