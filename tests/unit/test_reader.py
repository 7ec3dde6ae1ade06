"""The tap's reader tells when it stood still: what it reads after that may have been there for long."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from chaosd.kernel.clock import MS, SECOND
from chaosd.traffic.reader import Reader

ONE, TWO = TopicPartition("out", 0), TopicPartition("out", 1)


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns

    def wall_ns(self) -> int:
        return self.ns


@pytest.fixture
def told():
    return []


@pytest.fixture
def clock():
    return Now()


@pytest.fixture
def reader(clock, told):
    return Reader("nowhere", "tap", {ONE: 5, TWO: 0}, clock, lambda since, at: told.append((since, at)))


def look(reader, clock, at_ns, *, found=False, ends=None):
    clock.ns = at_ns
    reader._look(found=found, ends=ends or {}, wanting=list(reader.positions))


def test_time_in_which_more_was_there_than_was_read_is_told(reader, clock, told):
    look(reader, clock, SECOND, ends={ONE: 5, TWO: 0})
    look(reader, clock, 2 * SECOND, ends={ONE: 6, TWO: 0})
    look(reader, clock, 4 * SECOND, found=True)
    assert told == [(SECOND, 4 * SECOND)]


def test_time_in_which_nobody_knew_the_ends_is_told(reader, clock, told):
    look(reader, clock, 3 * SECOND)
    look(reader, clock, 4 * SECOND, found=True)
    assert told == [(0, 4 * SECOND)]


def test_time_without_a_record_is_no_standstill(reader, clock, told):
    for second in range(1, 9):
        look(reader, clock, second * SECOND, ends={ONE: 5, TWO: 0})
    look(reader, clock, 8 * SECOND + 300 * MS, found=True)
    assert told == []


def test_reader_is_behind_while_one_partition_has_more(reader):
    assert reader.behind({ONE: 6, TWO: 0})
    assert not reader.behind({ONE: 5, TWO: 0})
    assert not reader.behind({})
