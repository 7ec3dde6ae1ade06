"""Columns on their way to disk: rows of one kind as an Arrow stream. Apart from facts, so that a process whose rows are
none (a watchdog) starts without numpy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chaosd.journal.arrow import Encoder
from chaosd.journal.columns import Schema
from chaosd.journal.write import File


def columns_path(run_dir: Path, process: str, schema: Schema) -> Path:
    """The file of one kind of rows of one process."""
    return run_dir / f"{schema.name}-{process}.arrows"


class Columns:
    """Rows of one kind, of one process. Rows wait in memory until `flush`, which writes them as one batch."""

    def __init__(self, run_dir: Path, process: str, schema: Schema) -> None:
        self._dtype = schema.dtype
        self._file = File(columns_path(run_dir, process, schema), os.O_EXCL)
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
