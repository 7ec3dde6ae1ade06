"""Where between two services an envelope was lost is told by the topics between them, as far as they can tell it."""

from __future__ import annotations

import histories
import pytest
from histories import TOPICS, Written, plain, verdict_of

from chaosd.journal.columns import Role
from chaosd.journal.model import TopicFacts

INSIDE = (TopicFacts("prices", Role.INTERNAL, 2), TopicFacts("taxes", Role.INTERNAL, 2))
FIRST, SECOND = len(TOPICS), len(TOPICS) + 1


def between(written: Written, *inside: TopicFacts) -> Written:
    return written.facts(topics=(*TOPICS, *inside))


def lost(written: Written) -> int:
    row = written.find()
    written.lose(row)
    return row


def hop(written: Written) -> str:
    (witness,) = verdict_of(written, "no_loss").witnesses
    assert witness.anomaly == "LOST"
    return witness.hop


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ((), "lost before prices and taxes"),
        ((FIRST,), "lost behind prices, lost before taxes"),
        ((FIRST, SECOND), "lost behind prices and taxes"),
    ],
)
def test_the_topics_between_services_tell_how_far_it_came(seen, told):
    written = between(plain(), *INSIDE)
    row = lost(written)
    for topic in seen:
        written.add(topic, 0, 7, row=row, finals=(1,))
    assert hop(written) == told


def test_absence_says_nothing_where_a_record_there_may_be_anybodys():
    written = between(plain(), INSIDE[0]).facts(unnamed=("prices",))
    row = lost(written)
    assert hop(written) == "committed past without a result"
    written.add(FIRST, 0, 7, row=row, finals=(1,))
    assert hop(written) == "lost behind prices"


def test_without_topics_between_services_it_is_told_as_before():
    written = plain()
    lost(written)
    assert hop(written) == "committed past without a result"


def test_what_the_broker_lost_or_nobody_committed_past_keeps_its_hop():
    written = between(plain(), INSIDE[0])
    row = lost(written)
    written.rows["in_offset"][row] = written.rows["in_partition"][row] = -1
    assert hop(written).startswith("broker_lost")


def test_records_between_services_are_no_results_and_break_no_promise():
    written = between(plain(), INSIDE[0])
    for row in range(20):
        written.add(FIRST, 0, 100 - row, row=row, finals=(1,))
    for name in ("integrity", "no_loss", "no_duplicates", "order", "system_errors"):
        assert verdict_of(written, name).grade.name == "PASS", name


def test_rows_of_a_table_break_no_promise_of_order_and_do_not_vanish():
    written = plain().facts(topics=(*TOPICS, TopicFacts("table t", Role.TABLE, 1)))
    for row in range(20):
        written.add(FIRST, 0, 100 - row, row=row, finals=(1,))
    for name in ("integrity", "no_loss", "no_duplicates", "order", "system_errors"):
        assert verdict_of(written, name).grade.name == "PASS", name
    written.add(FIRST, 0, 200, row=3, deviation=int(histories.columns.Deviation.FIELD), finals=(1,))
    assert verdict_of(written, "integrity").counts["CORRUPT"] == 1
