"""The numbers of a refused batch are taken back: held against the installed aiokafka, whose private parts it uses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.transaction_manager import TransactionManager

from chaosd.traffic.sequence import newest, take_back

AT = TopicPartition("in", 0)


class Leader:
    """A cluster in which one broker leads everything."""

    def leader_for_partition(self, partition):
        return 1


@pytest.fixture
async def producer():
    """As AIOKafkaProducer holds its parts, without a broker."""
    numbers = TransactionManager(None, 60_000)
    numbers.set_pid_and_epoch(7, 0)
    accumulator = MessageAccumulator(Leader(), 100_000, 0, 30, txn_manager=numbers)
    return SimpleNamespace(_message_accumulator=accumulator, _txn_manager=numbers)


async def put(producer, count):
    """So many records into one batch: their futures and the batch of each."""
    made = []
    for number in range(count):
        sending = await producer._message_accumulator.add_message(AT, b"k", b"v%d" % number, 1)
        made.append((sending, newest(producer, "in", 0)))
    return made


def drain(producer):
    nodes, _ = producer._message_accumulator.drain_by_nodes(ignore_nodes=())
    return nodes[1][AT]


async def test_the_batch_of_a_record_is_known_and_how_often_it_was_tried(producer):
    (_, first), (_, second) = await put(producer, 2)
    assert first.of is second.of
    assert first.tries == 0
    batch = drain(producer)
    assert batch is first.of
    assert first.tries == 1
    producer._message_accumulator.reenqueue(batch)
    drain(producer)
    assert first.tries == 2


async def test_a_refused_batch_leaves_no_gap_in_the_numbers(producer):
    for refused in (False, True, False):
        records = await put(producer, 3)
        before = producer._txn_manager.sequence_number(AT)
        batch = drain(producer)
        assert producer._txn_manager.sequence_number(AT) == before + 3
        if not refused:
            batch.done(0)
            continue
        batch.failure(MessageSizeTooLargeError())
        for sending, one in records:
            assert isinstance(sending.exception(), MessageSizeTooLargeError)
            take_back(producer, one)
        assert producer._txn_manager.sequence_number(AT) == before
