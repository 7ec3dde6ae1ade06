"""Rows kept as columns behave like the structured array that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from chaosd.journal.table import Table

DTYPE = np.dtype([("seq", "u4"), ("seen_ns", "i8")])


def _rows(count: int = 6) -> np.ndarray:
    rows = np.zeros(count, DTYPE)
    rows["seq"], rows["seen_ns"] = np.arange(count), np.arange(count) * -7
    return rows


@pytest.mark.parametrize(
    "chosen",
    [slice(1, 4), slice(None, None, -1), slice(0, 0), np.array([3, 3, 0]), np.arange(6) % 2 == 0, np.zeros(6, bool)],
    ids=str,
)
def test_what_is_chosen_is_what_the_structured_array_gives(chosen: slice | np.ndarray) -> None:
    rows = _rows()
    picked = Table.of(rows)[chosen]
    assert len(picked) == len(rows[chosen])
    assert picked.rows().tolist() == rows[chosen].tolist()
    assert [row["seq"] for row in picked] == rows[chosen]["seq"].tolist()


def test_one_row_is_a_record() -> None:
    assert Table.of(_rows())[np.int64(2)].tolist() == (2, -14)
    assert Table.of(_rows())[-1].tolist() == (5, -35)


def test_writing_into_a_copy_leaves_the_original_alone() -> None:
    table = Table.of(_rows())
    copy = table.copy("seen_ns")
    copy["seen_ns"][[0, 1]] = 99
    assert copy["seen_ns"].tolist()[:3] == [99, 99, -14]
    assert table["seen_ns"].tolist()[:3] == [0, -7, -14]


def test_a_column_that_a_copy_shares_refuses_to_be_written() -> None:
    table = Table.of(_rows())
    with pytest.raises(ValueError, match="read-only"):
        table.copy("seen_ns")["seq"][0] = 1
    assert table["seq"][0] == 0


def test_a_new_column_takes_the_type_of_the_table_and_must_fit() -> None:
    table = Table.zeros(3, DTYPE)
    table["seen_ns"] = -1
    table["seq"] = np.array([1, 2, 3])
    assert table.rows().tolist() == [(1, -1), (2, -1), (3, -1)]
    assert table["seq"].dtype == np.uint32
    with pytest.raises(ValueError, match="rows"):
        table["seen_ns"] = np.zeros(2, np.int64)


def test_two_tables_are_joined_in_their_order() -> None:
    both = Table.of(_rows(2)).join(Table.of(_rows(3)))
    assert both["seq"].tolist() == [0, 1, 0, 1, 2]
    assert np.array_equal(np.asarray(both), np.concatenate((_rows(2), _rows(3))))
