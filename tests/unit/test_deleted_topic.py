"""A topic that a fault deleted: what it takes back, what it does not, and which records are of which topic."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import histories
import numpy as np
import pytest
from aiokafka import TopicPartition
from histories import STARTED_NS, found, identity_of, injection, verdict_of
from test_reader import Now

from chaosd.journal import facts as said
from chaosd.journal.columns import Role
from chaosd.journal.model import Deletion, InjectionFacts
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade
from chaosd.traffic import returning as returning_topics
from chaosd.traffic.config import Topic
from chaosd.traffic.reader import Reader
from chaosd.traffic.returning import Returning
from chaosd.verification.compose import judge, open_case
from chaosd.verification.obligations import result_ns, voided

CALL_NS = STARTED_NS + 20 * SECOND
GONE_NS = CALL_NS + 200 * MS
AGAIN = 3  # the index of what was made again


def deletion(**changes):
    plain = Deletion("f1", 1, Role.OUTPUT, CALL_NS, GONE_NS, clean=True, read=(90, 80), ends=(95, 80))
    return replace(plain, **changes)


def deleted(**changes):
    """A right run; its fault deleted the output topic at 20 s, and made it again at 25 s."""
    plan = histories.segments(rate_hz=40)
    written = histories.history(plan=plan, injections=(injection(),)).facts(deletions=(deletion(**changes),))
    gone = written.run.deletions[0].topic
    before = written.run.topics[gone]
    written.facts(topics=(*written.run.topics, replace(before, name=f"{before.name}#2")))
    mine = written.sightings["topic"] == gone
    early = mine & (written.sightings["seen_ns"] < CALL_NS)
    written.sightings["topic"][mine & ~early] = AGAIN
    word = before.role.name.lower()
    written.rows[f"fresh_{word}"][written.rows[f"first_{word}_ns"] < CALL_NS] = 0
    written.sightings = written.sightings[~(early & (written.sightings["final"] == 1))]
    return written


def due(written, at_ns, *, kind=0):
    """An envelope that was due last before that time."""
    ours = (written.rows["due_ns"] < at_ns) & ((written.rows["kind"] > 0) == (kind > 0))
    rows = np.flatnonzero(ours)
    return int(rows[np.argmax(written.rows["due_ns"][rows])])


def of_loss(written, row):
    """Whether a result that is missing is LOST (or a MISSING-ERROR), or VOIDED."""
    written.lose(row)
    who = identity_of(written, row)
    kind = int(written.rows["kind"][row])
    lost = found(written, *(("system_errors", "MISSING-ERROR") if kind else ("no_loss", "LOST")))[1]
    voided = found(written, "no_loss", "VOIDED")[1]
    assert (who in lost) != (who in voided)
    return who in lost


def test_what_was_under_way_when_the_topic_was_deleted_is_owed_no_more():
    written = deleted()
    assert not of_loss(written, due(written, CALL_NS))
    assert verdict_of(written, "no_loss").grade is Grade.PASS


@pytest.mark.parametrize("at_ns", [GONE_NS + SECOND, CALL_NS + 4 * SECOND, CALL_NS - 8 * SECOND])
def test_what_was_sent_when_it_was_gone_or_committed_long_before_is_owed(at_ns):
    """The fault is still in force: the pipeline must keep what it cannot send."""
    written = deleted()
    assert of_loss(written, due(written, at_ns))


def test_a_topic_that_nobody_saw_go_takes_all_that_was_under_way_later():
    written = deleted(returned_ns=-1)
    assert not of_loss(written, due(written, CALL_NS + 4 * SECOND))


def test_an_output_topic_takes_no_dead_letter_and_a_dead_letter_topic_anything():
    for role, kind, lost in ((Role.OUTPUT, 1, True), (Role.DLQ, 1, False), (Role.DLQ, 0, False)):
        written = deleted(role=role, topic=int(role))
        assert of_loss(written, due(written, CALL_NS, kind=kind)) is lost


def test_what_came_while_the_tap_stood_still_may_have_been_deleted_unseen():
    for stalled, lost in ((False, True), (True, False)):
        written = deleted()
        if stalled:
            written.stall(CALL_NS - 9 * SECOND, CALL_NS - SECOND)
        assert of_loss(written, due(written, CALL_NS - 8 * SECOND)) is lost


def test_a_standstill_that_was_over_long_before_excuses_nothing():
    written = deleted()
    written.stall(CALL_NS - 14 * SECOND, CALL_NS - 7 * SECOND)
    assert of_loss(written, due(written, CALL_NS - 8 * SECOND))


def test_what_was_seen_although_the_tap_had_stood_still_is_judged_as_ever():
    written = deleted()
    written.stall(CALL_NS - 4 * SECOND, CALL_NS - 3 * SECOND)
    case = open_case(written)
    seen = result_ns(written.rows) < CALL_NS
    under_way = written.rows["due_ns"] > CALL_NS - 4 * SECOND
    assert np.count_nonzero(seen & under_way) > 100
    assert not voided(case, written.rows)[seen].any()


def test_what_was_seen_in_a_deleted_topic_has_not_vanished():
    for gone, grade in ((True, Grade.PASS), (False, Grade.FAIL)):
        written = deleted()
        if not gone:
            written.facts(deletions=())
        verdict = verdict_of(written, "no_loss")
        assert (verdict.grade, verdict.counts["VANISHED"] > 500) == (grade, not gone)


def test_what_vanishes_from_the_topic_that_was_made_again_has_vanished():
    written = deleted()
    written.lose(due(written, STARTED_NS + 35 * SECOND), live=False)
    verdict = verdict_of(written, "no_loss")
    assert (verdict.grade, verdict.counts["VANISHED"]) == (Grade.FAIL, 1)


def test_the_verdict_counts_what_was_deleted():
    told = verdict_of(deleted(), "no_loss").details["deleted"]
    assert [(one["topic"], one["unread"]) for one in told] == [("out", 5)]
    assert told[0]["seen"] == 20 * 40 * 9 / 10
    assert "deleted" not in verdict_of(deleted().facts(deletions=()), "no_loss").details


def test_a_run_whose_topic_was_deleted_can_pass_with_a_full_certificate():
    judgement = judge(deleted(), histories.VERIFIERS)
    assert (judgement.grade, judgement.reasons) == (Grade.PASS, ())
    assert judgement.certificate.planted == judgement.certificate.noticed > 200


def test_a_topic_that_was_not_followed_proves_nothing_in_any_direction():
    written = deleted(clean=False)
    assert judge(written, histories.VERIFIERS).grade is Grade.INCONCLUSIVE
    written.lose(due(written, STARTED_NS + 35 * SECOND))
    row = due(written, STARTED_NS + 36 * SECOND)
    written.sightings["content"][written.results_of(row) & (written.sightings["final"] == 1)] += 1
    judgement = judge(written, histories.VERIFIERS)
    assert (judgement.grade, judgement.classes) == (Grade.INCONCLUSIVE, ())
    assert "topic_unfollowed:f1" in judgement.reasons
    assert judge(written.facts(deletions=(deletion(),)), histories.VERIFIERS).classes == ("DUP-OFFSET", "LOST")


def test_offsets_that_begin_again_are_those_of_another_topic():
    """Other contents at the same offsets, and lower offsets later: neither is an anomaly."""
    for another, classes in ((True, set()), (False, {"DUP-OFFSET", "REORDERED"})):
        written = deleted()
        again = written.sightings["topic"] == AGAIN
        written.sightings["offset"][again] -= written.sightings["offset"][again].min()
        written.sightings["content"] = written.sightings["seq"]
        if not another:
            written.sightings["topic"][again] = 1
        assert set(judge(written, histories.VERIFIERS, with_certificate=False).classes) == classes


_TOPICS = [{"name": name, "role": name, "partitions": 2} for name in ("input", "output", "dlq")]
_STARTED = {"kind": "run_started", "topics": _TOPICS}


def back(index, of=1, topic="output"):
    return {"kind": "topic_returned", "topic": topic, "index": index, "of": of, "role": topic, "partitions": 2}


def test_a_topic_that_was_made_again_is_another_one_with_the_next_index():
    told = said.topics([_STARTED, back(3), back(4, of=2, topic="dlq"), back(5, of=3)])
    assert [one.name for one in told] == ["input", "output", "dlq", "output#2", "dlq#2", "output#3"]
    assert [one.role for one in told[3:]] == [Role.OUTPUT, Role.DLQ, Role.OUTPUT]


def test_after_a_lost_fact_no_index_is_guessed():
    assert len(said.topics([_STARTED, back(4, of=3)])) == 3


def test_a_deletion_that_the_tap_does_not_state_is_not_clean():
    plain = InjectionFacts("a", "topic_deleted", "kafka", {"topic": "dlq"}, 0, 1, (), (), ("topic",), 10, 12)
    topics = said.topics([_STARTED])
    injected = {"kind": "fault_injected", "id": "a", "readback": {"ends": [7, 9]}}
    (one,) = said.deletions([injected], [plain], topics)
    assert (one.topic, one.role, one.clean, one.ends, one.unread) == (2, Role.DLQ, False, (7, 9), 0)
    fact = {"kind": "topic_deleted", "injection": "a", "index": 2, "clean": True, "positions": [5, 9]}
    (one,) = said.deletions([injected, fact], [plain], topics)
    assert (one.clean, one.unread, one.returned_ns) == (True, 2, 12)
    assert said.deletions([], [replace(plain, call_ns=-1), replace(plain, voids=())], topics) == ()


class Answers:
    """Stands for Progress and Sight: tells how many partitions are led, and is told what changes."""

    def __init__(self, led):
        self.led, self.done, self.asked = led, [], 0

    async def there(self, topic):
        self.asked += 1
        return self.led

    def let_go(self, topic):
        self.done.append(("gone", topic))

    def take_up(self, topic, index, partitions):
        self.done.append(("back", topic, index, partitions))

    def name_anew(self, topic, index):
        self.done.append(("named", topic, index))


async def test_a_deleted_topic_is_taken_up_when_all_its_partitions_are_led():
    clock, broker = Now(), Answers(0)
    returning = Returning([Topic("in", "input", 2), Topic("out", "output", 3)], broker, broker)
    assert await returning.await_return("out", 5) == (1, True)
    clock.ns = 7
    for led in (0, None, 2):
        broker.led = led
        assert await returning.returned(clock) == []
    broker.led, clock.ns = 3, 9
    (one,) = await returning.returned(clock)
    assert (one.index, one.of, one.missing_ns) == (2, 1, 7)
    assert broker.done == [("gone", "out"), ("named", "out", 2), ("back", "out", 2, 3)]
    assert await returning.returned(clock) == []
    broker.led = 0
    assert await returning.await_return("out", 10) == (2, True)


async def test_kafka_is_asked_for_a_topic_only_while_it_is_awaited(monkeypatch):
    monkeypatch.setattr(returning_topics, "_POLL_S", 0)
    clock, broker = Now(), Answers(0)
    returning = Returning([Topic("out", "output", 3)], broker, broker)
    following = returning.follow(clock)
    coming = asyncio.ensure_future(anext(following))
    await _turns()
    assert broker.asked == 0
    await returning.await_return("out", 5)
    broker.led = 3
    assert (await asyncio.wait_for(coming, 5)).index == 1
    asked = broker.asked
    async with asyncio.timeout(5):
        coming = asyncio.ensure_future(anext(following))
        while returning._any_awaited.is_set():
            await asyncio.sleep(0)
    await _turns()
    assert broker.asked == asked
    await returning.await_return("out", 6)
    assert (await asyncio.wait_for(coming, 5)).index == 2


async def _turns():
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("led", [3, None])
async def test_a_topic_that_is_there_or_of_which_nobody_tells_was_not_let_go_in_time(led):
    broker = Answers(led)
    returning = Returning([Topic("out", "output", 3)], broker, broker)
    assert await returning.await_return("out", 5) == (0, False)


async def test_a_reader_leaves_a_topic_where_it_was_and_begins_another_one():
    told, clock = [], Now()
    one, two, other = TopicPartition("out", 0), TopicPartition("out", 1), TopicPartition("in", 0)
    reader = Reader("nowhere", "tap", {one: 5, two: 8, other: 3}, clock, lambda *span: told.append(span))
    clock.ns = 3 * SECOND
    assert await reader.let_go("out") == {one: 5, two: 8}
    assert (reader.positions, told) == ({other: 3}, [(0, 3 * SECOND)])
    assert not reader.behind({one: 9, two: 9, other: 3})
    await reader.take_up({one: 0, two: 0})
    assert reader.positions == {one: 0, two: 0, other: 3}
