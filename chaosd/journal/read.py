"""Reads the files of a run directory as far as they are whole. Nothing here raises because a file was cut or is gone.

A file that ends in the middle of a line or of a batch is cut at the last whole one, and the cut is reported. When a
`limit` is given (the length that was sealed), what was appended later is left out, so that a judgement stays the same.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chaosd.journal.arrow import decode, messages
from chaosd.journal.model import BROKEN

_decoder = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Cut:
    """How much of a file could be read, its SHA-256, and what was wrong with the rest (empty: nothing)."""

    name: str
    length: int
    sha256: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def _content(path: Path, limit: int | None) -> bytes | mmap.mmap:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0 or limit == 0:
                return b""
            return mmap.mmap(file.fileno(), size if limit is None else min(size, limit), access=mmap.ACCESS_READ)
    except OSError:
        return b""


def read_facts(path: Path, limit: int | None = None) -> tuple[list[dict[str, Any]], Cut]:
    """The facts of one file in their order, up to the first line that is not whole JSON.

    A line whose `n` or `prev` does not follow from the line before is kept and reported: `chain broken at <n>`.
    """
    data = bytes(_content(path, limit))
    facts: list[dict[str, Any]] = []
    why, head, position = "", "", 0
    while position < len(data):
        end = data.find(b"\n", position)
        if end < 0:
            why = why or f"cut at byte {position} of {len(data)}: the last line is not whole"
            break
        line = data[position:end]
        fact = _fact(line)
        if fact is None:
            why = why or f"cut at byte {position} of {len(data)}: line {len(facts)} is not a fact"
            break
        if not why and (fact.get("n") != len(facts) or fact.get("prev") != head):
            why = f"{BROKEN} at {len(facts)}"
        head = hashlib.sha256(line).hexdigest()
        facts.append(fact)
        position = end + 1
    return facts, Cut(path.name, position, hashlib.sha256(data[:position]).hexdigest(), why)


def _fact(line: bytes) -> dict[str, Any] | None:
    try:
        fact = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(fact, dict) or not isinstance(fact.get("kind"), str) or not isinstance(fact.get("t_ns"), int):
        return None
    return fact


def read_columns(path: Path, dtype: np.dtype[np.void], limit: int | None = None) -> tuple[np.ndarray, Cut]:
    """The rows of one stream, up to the last whole batch."""
    content = _content(path, limit)
    with memoryview(content) as data:
        position = max(messages(data), default=0)
        why = "" if position == len(data) else f"cut at byte {position} of {len(data)}: the last batch is not whole"
        with data[:position] as whole:
            digest = hashlib.sha256(whole).hexdigest()
        try:
            # A copy of the prefix: nanoarrow keeps references to what it reads from.
            rows = decode(memoryview(bytes(data[:position])), dtype) if position else np.zeros(0, dtype)
        except ValueError as error:
            rows, why = np.zeros(0, dtype), f"not readable: {error}"
    return rows, Cut(path.name, position, digest, why)


def read_plain(path: Path, limit: int | None = None) -> Cut:
    """Length and hash of a file that is not read for its content."""
    data = _content(path, limit)
    return Cut(path.name, len(data), hashlib.sha256(data).hexdigest())


def process_of(name: str) -> str:
    """`sends-generator.arrows` → `generator`."""
    return name.partition(".")[0].partition("-")[2]


def column_files(run_dir: Path, name: str) -> Iterator[Path]:
    """All files of one kind of rows, in order of their names."""
    yield from sorted(run_dir.glob(f"{name}-*.arrows"))
