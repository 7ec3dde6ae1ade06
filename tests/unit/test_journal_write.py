"""What the writer puts on disk, and what the reader makes of every prefix of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosd.journal import write
from chaosd.journal.columns import ACKS, HEARTBEATS, SCHEMAS, SIGHTINGS
from chaosd.journal.read import read_columns, read_facts
from chaosd.journal.stream import Columns, columns_path
from chaosd.journal.write import Facts, Witness, facts_path, redact, seal
from chaosd.kernel.errors import JournalError


class Ticks:
    """A clock that counts."""

    def __init__(self) -> None:
        self.t = 0

    def now_ns(self) -> int:
        self.t += 1
        return self.t

    def wall_ns(self) -> int:
        return 1_700_000_000_000_000_000


def _facts(folder: Path, count: int = 5) -> Path:
    facts = Facts(folder, "tap", Ticks())
    for n in range(count):
        assert facts.append("something", durable=n == 2, value="ä" * n) == n
    facts.close()
    return facts_path(folder, "tap")


def test_facts_come_back_in_order_and_chained(tmp_path: Path) -> None:
    facts, cut = read_facts(_facts(tmp_path))
    assert [fact["n"] for fact in facts] == [0, 1, 2, 3, 4]
    assert facts[0]["version"] == write.VERSION
    assert facts[3]["value"] == "äää"
    assert cut.why == ""


def test_facts_cut_at_any_byte_are_a_prefix(tmp_path: Path) -> None:
    path = _facts(tmp_path)
    data, whole = path.read_bytes(), read_facts(path)[0]
    for length in range(len(data)):
        path.write_bytes(data[:length])
        facts, cut = read_facts(path)
        assert facts == whole[: data[:length].count(b"\n")]
        assert bool(cut.why) == (length > 0 and not data[:length].endswith(b"\n"))
        assert cut.length == data.rfind(b"\n", 0, length) + 1


def test_a_changed_fact_breaks_the_chain_where_it_stands(tmp_path: Path) -> None:
    path = _facts(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"something"', b'"otherthing"')
    path.write_bytes(b"".join(lines))
    facts, cut = read_facts(path)
    assert len(facts) == 5
    assert cut.why == "chain broken at 2"


def test_a_lost_fact_breaks_the_chain(tmp_path: Path) -> None:
    path = _facts(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert read_facts(path)[1].why == "chain broken at 2"


def test_a_respawned_process_goes_on_with_the_chain_and_drops_a_half_line(tmp_path: Path) -> None:
    path = _facts(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"n": 5, "t_ns')
    again = Facts(tmp_path, "tap", Ticks())
    assert again.append("respawned") == 5
    again.close()
    facts, cut = read_facts(path)
    assert [fact["kind"] for fact in facts][-2:] == ["something", "respawned"]
    assert cut.why == ""


def test_two_writers_of_one_file_are_refused(tmp_path: Path) -> None:
    first = Facts(tmp_path, "tap", Ticks())
    with pytest.raises(JournalError, match="being written"):
        Facts(tmp_path, "tap", Ticks())
    first.close()
    Facts(tmp_path, "tap", Ticks()).close()


def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    facts = Facts(tmp_path, "tap", Ticks())
    facts.append(
        "stack",
        postgres={"password": "hunter2", "user": "u", "dsn": "postgresql://u:hunter2@h:1/d"},
        api_token="hunter2",
    )
    facts.close()
    text = facts_path(tmp_path, "tap").read_text()
    assert "hunter2" not in text
    assert "postgresql://u:***@h:1/d" in text
    assert redact({"user": "u", "url": "http://h/path"}) == {"user": "u", "url": "http://h/path"}


def test_a_reserved_name_is_refused(tmp_path: Path) -> None:
    facts = Facts(tmp_path, "tap", Ticks())
    with pytest.raises(ValueError, match="reserved"):
        facts.append("something", prev="x")
    facts.close()


@pytest.mark.parametrize("written", [0, 7])
def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    facts = Facts(tmp_path, "tap", Ticks())
    facts.append("before")
    real, calls = os.pwrite, []

    def full(fd: int, data: bytes, position: int) -> int:
        calls.append(1)
        if len(calls) == 1 and written:
            return real(fd, bytes(data)[:written], position)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(JournalError) as error:
        facts.append("lost")
    assert "free space" in error.value.remedy
    monkeypatch.setattr(os, "pwrite", real)
    facts.append("after")
    facts.close()
    found, cut = read_facts(facts_path(tmp_path, "tap"))
    assert [fact["kind"] for fact in found] == ["before", "after"]
    assert cut.why == ""


def _random_rows(dtype: np.dtype[np.void], count: int, seed: int) -> np.ndarray:
    bytes_ = np.random.default_rng(seed).integers(0, 256, count * dtype.itemsize, dtype=np.uint8).tobytes()
    return np.frombuffer(bytes_, dtype)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_rows_of_every_kind_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    schema = SCHEMAS[name]
    rows = _random_rows(schema.dtype, 100, 1)
    columns = Columns(tmp_path, "x", schema)
    columns.append(tuple(rows[0].tolist()))
    columns.append(rows[1:40])
    columns.extend([tuple(row) for row in rows[40:60].tolist()])
    columns.flush()
    columns.append(rows[60:])
    assert columns.waiting == 40
    columns.close()
    found, cut = read_columns(columns_path(tmp_path, "x", schema), schema.dtype)
    assert (found == rows).all()
    assert cut.why == ""


def test_rows_that_were_not_flushed_are_not_there_and_those_flushed_are(tmp_path: Path) -> None:
    columns = Columns(tmp_path, "x", HEARTBEATS)
    columns.append((1, 2))
    columns.flush()
    columns.append((3, 4))
    rows, cut = read_columns(columns_path(tmp_path, "x", HEARTBEATS), HEARTBEATS.dtype)
    assert rows.tolist() == [(1, 2)]
    assert cut.why == ""
    columns.close()


def test_a_column_file_cut_at_any_byte_is_a_prefix_of_whole_batches(tmp_path: Path) -> None:
    columns, ends = Columns(tmp_path, "x", ACKS), [0]
    path = columns_path(tmp_path, "x", ACKS)
    rows = _random_rows(ACKS.dtype, 12, 2)
    for at in range(0, 12, 4):
        columns.append(rows[at : at + 4])
        columns.flush()
        ends.append(path.stat().st_size)
    columns.close()
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        found, cut = read_columns(path, ACKS.dtype)
        batches = sum(length >= end for end in ends[1:])
        assert (found == rows[: batches * 4]).all()
        assert len(found) == batches * 4
        # The schema is a message of its own before the first batch: a file cut right behind it is whole, without rows.
        assert bool(cut.why) == (length != cut.length)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "facts-x.jsonl").write_bytes(data)
    (folder / "sightings-x.arrows").write_bytes(b"\xff\xff\xff\xff" + data)
    facts, _ = read_facts(folder / "facts-x.jsonl")
    rows, _ = read_columns(folder / "sightings-x.arrows", SIGHTINGS.dtype)
    assert facts == []
    assert len(rows) == 0


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_facts(tmp_path / "facts-none.jsonl")[0] == []
    assert len(read_columns(tmp_path / "acks-none.arrows", ACKS.dtype)[0]) == 0


def test_the_seal_names_every_file_with_length_and_hash_and_every_head(tmp_path: Path) -> None:
    _facts(tmp_path)
    columns = Columns(tmp_path, "tap", HEARTBEATS)
    columns.append((1, 2))
    columns.close()
    own = Facts(tmp_path, "conductor", Ticks())
    own.append("run_started")
    head = seal(tmp_path, Ticks(), own)
    sealed = read_facts(tmp_path / "facts-conductor.jsonl")[0][-1]
    assert sealed["kind"] == "sealed"
    assert [file["name"] for file in sealed["files"]] == [
        "facts-conductor.jsonl",
        "facts-tap.jsonl",
        "heartbeats-tap.arrows",
    ]
    assert sealed["files"][2]["length"] == (tmp_path / "heartbeats-tap.arrows").stat().st_size
    assert set(sealed["heads"]) == {"conductor", "tap"}
    assert len(head) == 64
    with pytest.raises(ValueError, match="closed"):
        own.append("after the seal")


def test_the_witness_file_is_bounded(tmp_path: Path) -> None:
    witness = Witness(tmp_path, "tap", limit=3)
    for n in range(5):
        witness.append({"n": n})
    witness.close()
    assert [json.loads(line)["n"] for line in (tmp_path / "witness-tap.jsonl").read_text().splitlines()] == [0, 1, 2]
    assert (witness.kept, witness.dropped) == (3, 2)
