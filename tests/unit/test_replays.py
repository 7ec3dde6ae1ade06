"""Dead letters that were sent back: each gives its result once, and none comes back."""

from __future__ import annotations

from types import SimpleNamespace

import histories
import numpy as np
import pytest
from histories import VERIFIERS, injection, plain, verdict_of

from chaosd.conductor import replaying
from chaosd.journal import facts, join
from chaosd.journal.columns import Role
from chaosd.journal.join import Plan
from chaosd.journal.model import ENVELOPES, JOINED, TopicFacts
from chaosd.journal.table import Table
from chaosd.kernel.clock import SECOND
from chaosd.kernel.verdict import Grade
from chaosd.verification.case import open_case
from chaosd.verification.certificate import certify
from chaosd.verification.compose import judge
from chaosd.verification.verifier import Verifier

LETTERS = 6


def replayed(count: int = LETTERS, *, kind: int = 0, answered: bool = True):
    """A right run in which some envelopes of the tail ended as letters, and were sent again when all was over."""
    written = plain().facts(replayed=((2, 0, 1 << 20),))
    # Of several streams, so of both partitions: the certificate holds one of them still.
    rows = [written.find(kind=kind, nth=5 + 60 * n if kind == 0 else 1 + n) for n in range(count)]
    for number, row in enumerate(rows):
        if kind == 0:
            seen_ns = int(written.rows["first_output_ns"][row])
            written.lose(row)
            written.give(row, Role.DLQ, offset=(1 << 20) + number, at_ns=seen_ns)
            if answered:
                written.give(row, Role.OUTPUT, offset=(1 << 21) + number, at_ns=seen_ns + 60 * SECOND)
        written.rows["replayed"][row] = 1
    return written, rows


def hops(written):
    verdict = verdict_of(written, "replays")
    return verdict.grade, verdict.reasons, sorted(witness.hop for witness in verdict.witnesses)


def test_a_replay_that_gives_its_result_once_is_right_and_nobody_calls_it_a_double_outcome():
    written, _ = replayed()
    assert hops(written) == (Grade.PASS, (), [])
    assert verdict_of(written, "replays").details == {"replayed": LETTERS}
    assert verdict_of(written, "no_duplicates").grade is Grade.PASS
    # Its late result is no slow one: the letter resolved it.
    assert verdict_of(written, "recovery").grade is Grade.PASS
    assert verdict_of(written, "no_loss").grade is Grade.PASS


def test_without_a_replay_a_result_beside_a_letter_is_a_double_outcome():
    written, rows = replayed()
    written.rows["replayed"][rows[0]] = 0
    assert verdict_of(written, "no_duplicates").reasons == ("DOUBLE-OUTCOME",)


def test_a_replay_without_a_result_is_bad_once_the_drain_is_proved():
    written, _ = replayed(answered=False)
    grade, reasons, told = hops(written)
    assert (grade, reasons) == (Grade.FAIL, ("BAD-REPLAY",))
    assert told == ["sent again, and no result came of it"] * LETTERS
    written.facts(fresh_complete=False)
    assert hops(written)[:2] == (Grade.INCONCLUSIVE, ("replay_open",))


def test_where_a_missing_result_is_not_judged_that_of_a_replay_is_shown_only():
    written, _ = replayed(answered=False)
    verdict = verdict_of(written.expect(loss="not_judged"), "replays")
    assert (verdict.grade, verdict.counts) == (Grade.PASS, {"BAD-REPLAY": LETTERS})


def test_a_replay_with_two_results_is_bad():
    written, rows = replayed()
    written.give(rows[0], Role.OUTPUT, offset=1 << 22)
    assert hops(written) == (Grade.FAIL, ("BAD-REPLAY",), ["sent again, and its result came more than once"])


@pytest.mark.parametrize("kind", [0, 1])
def test_a_replay_that_comes_back_as_a_letter_is_bad_spoiled_or_not(kind):
    written, rows = replayed(1, kind=kind)
    written.give(rows[0], Role.DLQ, offset=1 << 22)
    assert hops(written) == (Grade.FAIL, ("BAD-REPLAY",), ["sent again, and it came back as a dead letter"])


def test_two_letters_of_one_envelope_that_were_both_replayed_are_none_that_came_back():
    written, rows = replayed()
    written.give(rows[0], Role.DLQ, offset=1 << 22)
    written.rows["replayed"][rows[0]] = 2
    assert hops(written) == (Grade.PASS, (), [])


def test_where_a_replay_was_asked_for_and_no_letter_was_there_nothing_was_shown():
    assert hops(plain().facts(replayed=())) == (Grade.INCONCLUSIVE, ("nothing_replayed",), [])


def test_a_run_without_a_replay_says_nothing_of_replays():
    judged = judge(plain(), VERIFIERS)
    assert judged.grade is Grade.PASS
    assert "replays" not in {verdict.verifier for verdict in judged.verdicts}
    assert "BAD-REPLAY" not in (*judged.certificate.by_class, *judged.certificate.not_applicable)


def test_a_run_with_a_replay_says_what_came_of_it():
    judged = judge(replayed()[0], VERIFIERS)
    assert {verdict.verifier: verdict.grade for verdict in judged.verdicts}["replays"] is Grade.PASS


def test_a_verifier_that_is_stored_without_a_word_on_when_it_applies_is_judged_as_ever():
    older = tuple(Verifier(one.name, one.anomalies, one.fold, one.merge, one.conclude) for one in VERIFIERS)
    judged = judge(plain(), older, with_certificate=False)
    assert "replays" in {verdict.verifier for verdict in judged.verdicts}


def test_the_certificate_takes_away_what_came_of_replays():
    written, _ = replayed()
    certificate = certify(open_case(written), written, VERIFIERS)
    planted, noticed = certificate.by_class["BAD-REPLAY"]
    assert 0 < planted == noticed
    assert certificate.unnoticed == ()
    without = histories.history(plan=histories.segments(rate_hz=40), injections=(injection(),))
    assert "BAD-REPLAY" in certify(open_case(without), without, VERIFIERS).not_applicable


def test_a_class_that_no_verifier_looks_for_is_not_spoken_of():
    """The verdict of an older run, by the verifiers that are stored with it, stays the same."""
    written = plain()
    older = tuple(one for one in VERIFIERS if one.name != "replays")
    certificate = certify(open_case(written), written, older)
    assert "BAD-REPLAY" not in (*certificate.by_class, *certificate.not_applicable)


TOPICS = (TopicFacts("in", Role.INPUT, 1), TopicFacts("out", Role.OUTPUT, 1), TopicFacts("dlq", Role.DLQ, 1))


def test_the_reader_knows_what_was_to_be_replayed():
    asked = {"kind": "run_started", "experiment": {"replay": "dlq"}}
    intended = {"kind": "replay_intended", "letters": [["dlq", 0, 7], ["dlq", 0, 9]]}
    assert facts.replayed([asked, intended], TOPICS) == ((2, 0, 7), (2, 0, 9))
    assert facts.replayed([asked], TOPICS) == ()
    assert facts.replayed([{"kind": "run_started", "experiment": {}}], TOPICS) is None
    assert facts.replayed([{"kind": "run_started"}], TOPICS) is None


def test_the_reader_counts_each_letter_once_for_its_envelope():
    made = np.zeros(7, JOINED)
    # Two letters of envelope 1, live and afresh; a stray one; one that was not replayed; and an output at such a place.
    made["topic"] = (1, 2, 2, 2, 2, 2, 2)
    made["offset"] = (7, 7, 7, 8, 9, 9, 10)
    made["final"] = (0, 0, 1, 0, 0, 1, 0)
    made["row"] = (0, 1, 1, -1, 1, 1, 0)
    plan = Plan(Table.zeros(3, ENVELOPES), np.arange(3), 1)
    join.replayed(plan, Table.of(made), ((2, 0, 7), (2, 0, 8), (2, 0, 9)))
    assert plan.envelopes["replayed"].tolist() == [0, 2, 0]
    join.replayed(plan, Table.of(made[:0]), ((2, 0, 7),))
    assert plan.envelopes["replayed"].tolist() == [0, 0, 0]


async def test_what_is_sent_back_is_written_down_before(monkeypatch):
    """Kafka is a fake here; experiments/lab/dlq-replay.yaml does it for real."""
    done = []

    async def read_letters(bootstrap, topic):
        return [SimpleNamespace(topic=topic, partition=0, offset=offset) for offset in (3, 4)]

    async def plan(bootstrap, letters, *, force):
        assert not force
        return [SimpleNamespace(found=one, original=one.offset if one.offset == 4 else None) for one in letters]

    async def send(bootstrap, planned, rate_hz, clock, on_sent):
        done.append(("send", rate_hz))
        return 1

    for fake in (read_letters, plan, send):
        monkeypatch.setattr(replaying, fake.__name__, fake)
    context = SimpleNamespace(
        testbed=SimpleNamespace(
            record=SimpleNamespace(
                topics=(SimpleNamespace(role="input", name="in"), SimpleNamespace(role="dlq", name="d"))
            ),
            stack=SimpleNamespace(endpoints=SimpleNamespace(direct=SimpleNamespace(bootstrap="fake:1"))),
        ),
        experiment=SimpleNamespace(traffic=SimpleNamespace(rate_hz=50.0)),
        facts=SimpleNamespace(append=lambda kind, **told: done.append((kind, told))),
        phase=lambda *told: None,
        clock=None,
    )
    assert await replaying.replay(context) == 1
    assert done == [
        ("replay_intended", {"durable": True, "letters": [["d", 0, 4]], "left_alone": 1}),
        ("send", 50.0),
        ("replay_done", {"durable": True, "sent": 1}),
    ]
