"""The parts of generator and tap that need no broker: schedule, outcomes, ages, sight, run ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import errors

from chaosd.experiment.content import Content, Inspection
from chaosd.experiment.plan import Segment, expand
from chaosd.journal.columns import NO_STREAM, Deviation, Outcome, Role
from chaosd.journal.runs import RunEntry, expired, list_runs, new_run_id
from chaosd.journal.write import Witness
from chaosd.kernel.clock import SECOND
from chaosd.process.heartbeat import INTERVAL_NS, LATE_NS, late
from chaosd.traffic.ages import Ages
from chaosd.traffic.config import Topic
from chaosd.traffic.outcomes import outcome_of
from chaosd.traffic.schedule import Schedule
from chaosd.traffic.sight import Origins, Sight, content_hash

SEED, STREAMS = 3, 4
TOPICS = [Topic("in", "input", 2), Topic("out", "output", 2), Topic("dlq", "dlq", 1)]


def _segment(
    first: int = 0, count: int = 10, start_ns: int = 1000, poison: tuple[tuple[str, float], ...] = ()
) -> Segment:
    return Segment(0, "baseline", first, count, start_ns, 100, STREAMS, poison)


def test_nothing_is_handed_out_before_it_is_due_or_beyond_the_watermark() -> None:
    schedule = Schedule(SEED)
    schedule.add(_segment())
    assert list(schedule.due(5_000)) == []
    schedule.watermark = 4
    assert [due.due_ns for due in schedule.due(1_150)] == [1000, 1100]
    assert [due.due_ns for due in schedule.due(5_000)] == [1200, 1300]
    assert schedule.next_due_ns() == 1400
    schedule.watermark = 10
    assert len(list(schedule.due(5_000))) == 6
    assert schedule.empty
    assert list(schedule.finished) == [0]


def test_the_watermark_covers_what_is_due_and_no_more_than_is_planned() -> None:
    schedule = Schedule(SEED)
    schedule.add(_segment())
    schedule.add(_segment(first=10, start_ns=2000))
    assert schedule.planned_until(999) == 0
    assert schedule.planned_until(1000) == 1
    assert schedule.planned_until(1250) == 3
    assert schedule.planned_until(2000) == 11
    assert schedule.planned_until(9 * SECOND) == 20


def test_a_cleared_schedule_stops_in_the_middle_of_a_hand_out() -> None:
    schedule = Schedule(SEED)
    schedule.add(_segment())
    schedule.watermark = 10
    handed = []
    for due in schedule.due(5_000):
        handed.append(due)
        if len(handed) == 3:
            schedule.clear()
    assert len(handed) == 3
    assert schedule.empty


@pytest.mark.parametrize(
    ("error", "local", "outcome"),
    [
        (errors.MessageSizeTooLargeError(), False, Outcome.REJECTED),
        (errors.InvalidTopicError(), False, Outcome.REJECTED),
        (errors.KafkaTimeoutError(), False, Outcome.INDETERMINATE),
        (errors.KafkaTimeoutError(), True, Outcome.REJECTED),
        (errors.RequestTimedOutError(), False, Outcome.INDETERMINATE),
        (errors.KafkaConnectionError(), True, Outcome.INDETERMINATE),
        (errors.OutOfOrderSequenceNumber(), False, Outcome.INDETERMINATE),
        (errors.NotEnoughReplicasAfterAppendError(), False, Outcome.INDETERMINATE),
        (RuntimeError("anything else"), False, Outcome.INDETERMINATE),
    ],
)
def test_only_a_proof_that_it_was_never_appended_makes_a_send_rejected(
    error: Exception, local: bool, outcome: Outcome
) -> None:
    assert outcome_of(error, local=local) == outcome


def test_a_size_that_is_refused_at_the_second_attempt_may_have_been_taken_at_the_first() -> None:
    for error in (errors.MessageSizeTooLargeError(), errors.RecordListTooLargeError()):
        assert outcome_of(error, local=False, tries=1) is Outcome.REJECTED
        assert outcome_of(error, local=False, tries=2) is Outcome.INDETERMINATE
    assert outcome_of(errors.InvalidTopicError(), local=False, tries=2) is Outcome.REJECTED


def test_the_age_is_that_of_the_oldest_due_envelope_without_its_result() -> None:
    ages = Ages(SEED, STREAMS)
    ages.add(_segment())
    assert ages.oldest_ns(900) == 0
    assert ages.oldest_ns(1500) == 500
    ages.result(0, 0, 1450, dead_letter=False)
    assert ages.oldest_ns(1500) == 400
    ages.result(1, 0, 1460, dead_letter=False)
    ages.result(3, 0, 1470, dead_letter=False)
    assert ages.oldest_ns(1500) == 300
    assert (ages.due_unresolved(1500), ages.resolved, ages.last_new_ns, ages.latency_ns_max) == (3, 3, 1470, 450)
    for k in range(10):
        ages.result(k % STREAMS, k // STREAMS, 2000, dead_letter=False)
    assert ages.oldest_ns(9000) == 0
    assert ages.resolved == 10


def test_a_spoiled_envelope_is_resolved_by_its_dead_letter_alone() -> None:
    segment = _segment(count=40, poison=(("not_json", 0.5),))
    ages = Ages(SEED, STREAMS)
    ages.add(segment)
    k = int(expand(segment, SEED)["kind"].argmax())
    ages.result(k % STREAMS, k // STREAMS, 2000, dead_letter=False)
    assert ages.resolved == 0
    ages.result(k % STREAMS, k // STREAMS, 2000, dead_letter=True)
    assert ages.resolved == 1
    assert ages.errors == 0


def test_a_dead_letter_of_a_good_envelope_is_an_error_that_nobody_planned() -> None:
    ages = Ages(SEED, STREAMS)
    ages.add(_segment())
    ages.result(0, 0, 1450, dead_letter=True)
    ages.result(1, 0, 1450, dead_letter=False)
    ages.result(0, 0, 1460, dead_letter=True)
    assert (ages.resolved, ages.errors) == (2, 1)


def test_origins_know_gaps_and_what_was_not_read_yet() -> None:
    origins = Origins()
    origins.begin("ticks", 0, 100)
    origins.note("ticks", 0, 101, 5, 7)
    origins.note("ticks", 0, 102, -1, -1)
    assert origins.find("ticks", 0, 101) == (5, 7)
    assert origins.find("ticks", 0, 100) is None
    assert origins.find("ticks", 0, 102) is None
    assert origins.find("ticks", 0, 99) is None
    assert origins.find("ticks", 1, 101) is None
    assert (origins.covers("ticks", 0, 102), origins.covers("ticks", 0, 103), origins.covers("ticks", 0, 5)) == (
        True,
        False,
        True,
    )


@dataclass
class Read:
    """A record as a consumer gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any = field(default_factory=tuple)
    timestamp: int = 5


def _sight(tmp_path: Path) -> tuple[Sight, Content, Witness]:
    content = Content(9, SEED, STREAMS, {Role[t.role.upper()]: (t.name, t.partitions) for t in TOPICS}, 10**18)
    content.add(_segment(count=40))
    witness = Witness(tmp_path, "tap")
    sight = Sight(TOPICS, content, witness)
    sight.origins.begin("in", 0, 0)
    sight.origins.begin("in", 1, 0)
    return sight, content, witness


def test_an_input_record_is_identified_and_remembered(tmp_path: Path) -> None:
    sight, content, witness = _sight(tmp_path)
    sent = content.render(1, 2, 0)
    told = sight.look(Read("in", 1, 3, sent.key, sent.value, sent.headers), 77, 1)
    assert told is not None
    row, role, _ = told
    assert role is Role.INPUT
    assert row[:3] == (0, 1, 3)
    assert (row[4], row[5], row[6], row[8], row[12]) == (77, 1, 2, 0, 1)
    assert sight.origins.find("in", 1, 3) == (1, 2)
    assert witness.kept == 0


def test_what_is_not_ours_is_kept_with_its_bytes(tmp_path: Path) -> None:
    sight, _, witness = _sight(tmp_path)
    told = sight.look(Read("out", 0, 0, b"k", b"\xff\x00 no envelope"), 77, 0)
    assert told is not None
    assert told[0][5] == NO_STREAM
    assert told[2].deviation & Deviation.UNIDENTIFIED
    assert witness.kept == 1


def test_a_record_waits_for_the_command_that_planned_it_and_no_longer(tmp_path: Path) -> None:
    sight, content, witness = _sight(tmp_path)
    ahead = content.render(0, 10, 0)
    assert sight.look(Read("in", 0, 0, ahead.key, ahead.value, ahead.headers), 77, 0) is None
    content.add(_segment(first=40, count=4))
    ((row, _, found),) = sight.again(80)
    assert (row[4], row[5], row[6], found.deviation) == (77, 0, 10, Deviation.NONE)
    assert witness.kept == 0
    never = content.render(0, 99, 0)
    assert sight.look(Read("in", 0, 1, never.key, never.value, never.headers), 77, 0) is None
    ((_, _, found),) = sight.again(77 + 2 * SECOND)
    assert found.deviation & Deviation.UNPLANNED


class _Claims:
    """Stands for Content: every dead letter claims the input record (0, 5), and is what `origin` says of it."""

    def inspect(
        self, role: Role, topic: str, partition: int, key: Any, value: Any, headers: Any, origin: Any
    ) -> Inspection:
        if role is Role.INPUT:
            return Inspection(2, 8, 0, Deviation.NONE)
        stream, seq = origin("in", 0, 5) or (-1, -1)
        return Inspection(stream, seq, 0, Deviation.NONE if stream >= 0 else Deviation.UNIDENTIFIED, 0, 5, "in")


def test_a_dead_letter_waits_for_the_input_record_that_it_names(tmp_path: Path) -> None:
    sight = Sight(TOPICS, _Claims(), Witness(tmp_path, "tap"))  # type: ignore[arg-type]
    sight.origins.begin("in", 0, 0)
    letter = Read("dlq", 0, 0, b"k", b"v")
    assert sight.look(letter, 100, 0) is None
    assert sight.again(200) == []
    sight.look(Read("in", 0, 5, b"k", b"v"), 250, 0)
    ((row, role, _),) = sight.again(300)
    assert role is Role.DLQ
    assert (row[4], row[5], row[6]) == (100, 2, 8)
    assert sight.again(400) == []


def test_a_dead_letter_does_not_wait_for_ever(tmp_path: Path) -> None:
    sight = Sight(TOPICS, _Claims(), Witness(tmp_path, "tap"))  # type: ignore[arg-type]
    sight.origins.begin("in", 0, 0)
    assert sight.look(Read("dlq", 0, 0, b"k", b"v"), 0, 0) is None
    assert sight.again(2 * SECOND - 1) == []
    ((row, _, _),) = sight.again(2 * SECOND)
    assert row[5] == NO_STREAM
    assert sight.look(Read("dlq", 0, 1, b"k", b"v"), 0, 0) is None
    assert len(sight.again(1, at_once=True)) == 1


def test_the_content_hash_tells_key_from_value() -> None:
    assert content_hash(b"a", b"b") != content_hash(b"b", b"a")
    assert content_hash(None, b"b") == content_hash(None, b"b") < 1 << 64


def test_a_beat_is_late_beyond_five_milliseconds_only() -> None:
    assert not late(INTERVAL_NS, INTERVAL_NS + LATE_NS)
    assert late(INTERVAL_NS, INTERVAL_NS + LATE_NS + 1)


class _Clock:
    def now_ns(self) -> int:
        return 0

    def wall_ns(self) -> int:
        return 1_700_000_000 * SECOND


def test_run_ids_sort_by_time_and_are_found_again(tmp_path: Path) -> None:
    run_id = new_run_id(_Clock(), "Redis: latency!")
    assert run_id.startswith("20231114T221320-redis-latency-")
    assert new_run_id(_Clock()) != new_run_id(_Clock())
    (tmp_path / run_id).mkdir()
    (tmp_path / run_id / "verdict.json").write_text('{"verdict": "PASS", "exit_code": 0}')
    (tmp_path / "something else").mkdir()
    unjudged = new_run_id(_Clock())
    (tmp_path / unjudged).mkdir()
    found = {run.run_id: (run.verdict, run.exit_code) for run in list_runs(tmp_path)}
    assert found == {run_id: ("PASS", 0), unjudged: ("", None)}
    assert list_runs(tmp_path / "none") == []


def test_retention_takes_the_oldest_passes_first() -> None:
    runs = [
        RunEntry(str(n), Path(str(n)), verdict, 0) for n, verdict in enumerate(["FAIL", "PASS", "PASS", "", "PASS"])
    ]
    assert [run.run_id for run in expired(runs, 3)] == ["1", "2"]
    assert [run.run_id for run in expired(runs, 1)] == ["1", "2", "4", "0"]
    assert expired(runs, 9) == []


class _Rows:
    """Stands for Content: the value is the deviation of the record, of whatever topic."""

    def inspect(
        self, role: Role, topic: str, partition: int, key: Any, value: Any, headers: Any, origin: Any
    ) -> Inspection:
        deviation = Deviation(int(value))
        return Inspection(-1 if deviation & Deviation.UNIDENTIFIED else 1, 2, 0, deviation)


def test_what_others_have_in_a_table_or_between_services_is_passed_over(tmp_path: Path) -> None:
    later = [Topic("prices", "internal", 1), Topic("table t", "table", 1)]
    witness = Witness(tmp_path, "tap")
    sight = Sight([*TOPICS, *later], _Rows(), witness)  # type: ignore[arg-type]
    for deviation in (Deviation.UNIDENTIFIED, Deviation.FOREIGN):
        assert sight.look(Read("table t", 0, 0, None, str(int(deviation)).encode()), 5, 1) is None
    assert sight.unnamed == set()
    assert sight.look(Read("prices", 0, 0, None, str(int(Deviation.UNIDENTIFIED)).encode()), 5, 1) is None
    assert sight.unnamed == {"prices"}
    told = sight.look(Read("table t", 0, 1, None, str(int(Deviation.FIELD)).encode()), 5, 1)
    assert told is not None
    assert told[0][:3] == (len(TOPICS) + 1, 0, 1)
    assert witness.kept == 1
    assert sight.again(10 * SECOND) == []
