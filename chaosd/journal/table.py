"""Rows kept as columns: what verifiers fold over, indexed like a structured array of numpy.

A verifier looks at few fields of many rows. In a structured array each of them is strewn over all of the memory; here
each is an array of its own, which is read at the speed of the memory. Choosing rows chooses nothing yet: a column is
taken when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, overload

import numpy as np


class Table:
    """`table["due_ns"]` is a contiguous column, `table[mask]` (or indices, a slice) another table, `table[3]` one row.

    Values may be written into a column of a table that was made whole; what was chosen from another table is a value
    of its own, and may share memory with it: it is to be read, or copied.
    """

    __slots__ = ("_columns", "_length", "_make", "_parts", "dtype")

    def __init__(self, dtype: np.dtype[Any], length: int, make: Callable[[str], np.ndarray]) -> None:
        """`make` gives a column by its name when it is first asked for."""
        self.dtype = dtype
        self._length = length
        self._make = make
        self._columns: dict[str, np.ndarray] = {}
        self._parts: tuple[Table, ...] = ()

    @classmethod
    def of(cls, rows: Table | np.ndarray) -> Table:
        """Columns of a structured array; a table is one already."""
        return rows if isinstance(rows, cls) else cls(rows.dtype, len(rows), lambda name: _copy(rows[name]))

    @classmethod
    def zeros(cls, length: int, dtype: np.dtype[Any]) -> Table:
        """Rows of nothing."""
        return cls(dtype, length, lambda name: np.zeros(length, dtype[name]))

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, chosen: str) -> np.ndarray: ...
    @overload
    def __getitem__(self, chosen: int | np.integer[Any]) -> np.void: ...
    @overload
    def __getitem__(self, chosen: slice | np.ndarray) -> Table: ...
    def __getitem__(self, chosen: Any) -> Any:
        if isinstance(chosen, str):
            column = self._columns.get(chosen)
            if column is None:
                column = self._columns[chosen] = self._make(chosen)
            return column
        if isinstance(chosen, (int, np.integer)):
            return self[np.array([chosen])].rows()[0]
        if isinstance(chosen, slice):
            length = len(range(*chosen.indices(self._length)))
            return Table(self.dtype, length, lambda name: self[name][chosen])
        index = np.asarray(chosen)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        return Table(self.dtype, len(index), lambda name: self[name].take(index))

    def __setitem__(self, name: str, values: Any) -> None:
        """A new column; an array that fits is taken over as it is."""
        if not (isinstance(values, np.ndarray) and values.dtype == self.dtype[name] and values.flags.c_contiguous):
            column = np.empty(self._length, self.dtype[name])
            column[...] = values
            values = column
        if values.shape != (self._length,):
            raise ValueError(f"{values.shape} values for {self._length} rows")
        self._columns[name] = values
        self._parts = ()  # they know nothing of this column

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001 -- numpy's own
        return np.asarray(self.rows(), dtype)

    def __iter__(self) -> Iterator[np.void]:
        return iter(self.rows())

    def copy(self, *written: str) -> Table:
        """The same rows with columns to write into; the others are shared, and refuse to be written."""
        return Table(self.dtype, self._length, lambda name: self[name].copy() if name in written else _shut(self[name]))

    def join(self, other: Table) -> Table:
        """These rows and the other's."""
        parts = (*(self._parts or (self,)), *(other._parts or (other,)))
        # All at once: one after the other, what was joined first would be copied again with each of them.
        joined = Table(self.dtype, len(self) + len(other), lambda name: np.concatenate([part[name] for part in parts]))
        joined._parts = parts
        return joined

    def rows(self) -> np.ndarray:
        """The structured array."""
        made = np.empty(self._length, self.dtype)
        for name in self.dtype.names or ():
            made[name] = self[name]
        return made


Rows = Table | np.ndarray


def _copy(column: np.ndarray) -> np.ndarray:
    return np.array(column, order="C")


def _shut(column: np.ndarray) -> np.ndarray:
    view = column.view()
    view.flags.writeable = False
    return view
