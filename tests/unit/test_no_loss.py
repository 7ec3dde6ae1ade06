"""Loss and standstill: what is lost, what is only unseen, what is stuck, and what was never owed."""

from __future__ import annotations

from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import STARTED_NS, found, identity_of, injection, plain, verdict_of

from chaosd.journal.columns import Deviation, Outcome, Role
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade
from chaosd.verification.compose import judge


def test_absent_in_both_reads_with_the_drain_proved_is_lost():
    written = plain()
    row = written.find()
    written.lose(row)
    assert found(written, "no_loss", "LOST") == (Grade.FAIL, {identity_of(written, row)})


def test_seen_by_the_fresh_read_alone_is_not_lost():
    written = plain()
    written.lose(written.find(), fresh=False)
    assert found(written, "no_loss", "LOST") == (Grade.PASS, set())


def test_what_the_broker_never_had_is_not_lost():
    written = plain()
    row = written.find()
    written.lose(row)
    written.rows["outcome"][row], written.rows["in_offset"][row] = Outcome.INDETERMINATE, -1
    assert found(written, "no_loss", "LOST") == (Grade.PASS, set())


def test_acknowledged_but_not_in_the_log_is_the_brokers_loss():
    written = plain()
    row = written.find()
    written.lose(row)
    written.rows["in_offset"][row] = written.rows["in_partition"][row] = -1
    (witness,) = verdict_of(written, "no_loss").witnesses
    assert witness.hop.startswith("broker_lost")


def test_without_proof_of_the_drain_it_is_unseen():
    written = plain()
    row = written.find()
    written.lose(row)
    partition = int(written.rows["in_partition"][row])
    drain = dict(written.run.drain)
    drain[partition] = replace(drain[partition], proved=False)
    written.facts(drain=drain)
    assert found(written, "no_loss", "UNSEEN") == (Grade.INCONCLUSIVE, {identity_of(written, row)})
    # The proof of the other partition takes nothing back here.
    drain = {partition: written.run.drain[1 - partition], 1 - partition: written.run.drain[partition]}
    assert found(written.facts(drain=drain), "no_loss", "LOST")[0] is Grade.FAIL


def test_without_the_fresh_read_nothing_is_lost_and_nothing_passes():
    written = plain()
    assert verdict_of(written.facts(fresh_complete=False), "no_loss").reasons == ("fresh_read_incomplete",)
    written.lose(written.find())
    assert found(written, "no_loss", "UNSEEN")[0] is Grade.INCONCLUSIVE


def test_a_fence_that_did_not_come_out_takes_the_proof_back():
    phases = {"warmup": 5.0, "baseline": 15.0, "tail": 15.0, "fence": 0.2}
    for fence, grade in ((True, Grade.INCONCLUSIVE), (False, Grade.FAIL)):
        written = histories.history(plan=histories.segments(rate_hz=40, phases=phases))
        row = written.find()
        written.lose(row)
        if fence:
            fences = np.flatnonzero(written.rows["segment"] == 3)
            same = written.rows["in_partition"][fences] == written.rows["in_partition"][row]
            written.lose(int(fences[same][-1]))
        assert verdict_of(written.facts(fifo=True), "no_loss").grade is grade


def test_a_fence_that_never_went_in_proves_nothing():
    phases = {"warmup": 5.0, "baseline": 15.0, "tail": 15.0, "fence": 0.2}
    for sent in (True, False):
        written = histories.history(plan=histories.segments(rate_hz=40, phases=phases))
        written.lose(written.find())
        if not sent:
            fence = written.find(phase="fence", nth=0)
            written.lose(fence)
            written.rows["outcome"][fence], written.rows["in_offset"][fence] = Outcome.REJECTED, -1
        verdict = verdict_of(written.facts(fifo=True), "no_loss")
        assert verdict.grade is (Grade.FAIL if sent else Grade.INCONCLUSIVE)


def test_without_any_fence_a_target_that_keeps_order_is_not_proved_drained():
    written = plain()
    written.lose(written.find())
    assert verdict_of(written.facts(fifo=True), "no_loss").grade is Grade.INCONCLUSIVE


def test_loss_that_is_not_judged_is_counted():
    written = plain().expect(loss="not_judged")
    written.lose(written.find())
    verdict = verdict_of(written, "no_loss")
    assert (verdict.grade, verdict.counts["LOST"]) == (Grade.PASS, 1)


def test_an_obligation_that_a_fault_takes_away_is_voided():
    for voids, anomaly in ((("results",), "VOIDED"), ((), "LOST")):
        written = histories.history(plan=histories.segments(rate_hz=40), injections=(injection(voids=voids),))
        row = written.find(phase="faults")
        written.lose(row)
        assert found(written, "no_loss", anomaly)[1] == {identity_of(written, row)}


@pytest.mark.parametrize("phase", ["baseline", "warmup"])
def test_what_was_finished_with_before_the_fault_is_owed_whatever_it_voids(phase):
    """Its result never came, but the group had committed past it long before: the fault did not take it."""
    written = histories.history(plan=histories.segments(rate_hz=40), injections=(injection(voids=("results",)),))
    row = written.find(phase=phase)
    written.lose(row)
    assert found(written, "no_loss", "LOST") == (Grade.FAIL, {identity_of(written, row)})


def test_a_fault_that_voids_leaves_the_certificate_whole():
    written = histories.history(plan=histories.segments(rate_hz=40), injections=(injection(voids=("results",)),))
    judgement = judge(written, histories.VERIFIERS)
    assert judgement.grade is Grade.PASS, judgement.reasons
    planted, noticed = judgement.certificate.by_class["LOST"]
    assert planted == noticed > 0


def test_what_was_sent_after_the_fault_is_owed_again():
    written = histories.history(plan=histories.segments(rate_hz=40), injections=(injection(voids=("results",)),))
    row = written.find(phase="tail")
    written.lose(row)
    assert found(written, "no_loss", "LOST") == (Grade.FAIL, {identity_of(written, row)})


def test_what_was_lost_long_before_the_fault_is_not_excused_by_it():
    for phase, anomaly in (("warmup", "LOST"), ("faults", "VOIDED")):
        written = histories.history(plan=histories.segments(rate_hz=40), injections=(injection(voids=("results",)),))
        row = written.find(phase=phase)
        written.lose(row)
        assert found(written, "no_loss", anomaly)[1] == {identity_of(written, row)}


def test_as_many_unidentified_outputs_as_missing_ones_leave_open_which_they_are():
    for strays, grade in ((2, Grade.INCONCLUSIVE), (1, Grade.FAIL)):
        written = plain()
        written.lose(written.find(nth=5))
        written.lose(written.find(nth=6))
        for number in range(strays):
            written.add(1, 0, (1 << 30) + number, deviation=Deviation.UNIDENTIFIED)
        assert verdict_of(written, "no_loss").grade is grade


def test_unidentified_records_mask_missing_results_of_every_kind_together():
    """A record without identity may be any missing result: a dead letter may be the result of an ordinary envelope."""
    for topic in (1, 2):
        written = plain()
        written.lose(written.find())
        written.lose(written.find(kind=1))
        for number in range(2):
            written.add(topic, 0, (1 << 30) + number, deviation=Deviation.UNIDENTIFIED)
        loss, errors = verdict_of(written, "no_loss"), verdict_of(written, "system_errors")
        assert (loss.grade, loss.counts["LOST"], loss.counts["UNSEEN"]) == (Grade.INCONCLUSIVE, 0, 2)
        assert (errors.grade, errors.counts["MISSING-ERROR"]) == (Grade.INCONCLUSIVE, 0)
        written.lose(written.find(nth=8))
        assert verdict_of(written, "no_loss").grade is Grade.FAIL
        assert verdict_of(written, "system_errors").grade is Grade.FAIL


def bounds(written):
    return verdict_of(written, "no_loss").details["loss"]


def test_loss_is_bounded_by_what_is_proved_and_what_is_possible():
    written = plain()
    assert bounds(written) == {"proved": 0, "possible": 0}
    written.lose(written.find(nth=5))
    written.lose(written.find(nth=6))
    written.lose(written.find(kind=1))
    assert bounds(written) == {"proved": 3, "possible": 3}
    written.add(1, 0, 1 << 30, deviation=Deviation.UNIDENTIFIED)
    assert bounds(written) == {"proved": 2, "possible": 3}
    assert bounds(written.facts(fresh_complete=False)) == {"proved": 0, "possible": 3}
    unknown = written.find(nth=9)
    written.lose(unknown)
    written.rows["outcome"][unknown], written.rows["in_offset"][unknown] = Outcome.INDETERMINATE, -1
    # Nobody read the input log to its end, so it may be in there.
    assert bounds(written) == {"proved": 0, "possible": 4}
    assert bounds(written.facts(fresh_complete=True)) == {"proved": 2, "possible": 3}


def test_one_record_of_two_that_vanished_is_told_though_the_other_is_still_there():
    written = plain()
    row = written.find()
    written.give(row, Role.OUTPUT)
    second = written.results_of(row) & (written.sightings["offset"] == 1 << 30) & (written.sightings["final"] == 1)
    written.sightings = written.sightings[~second]
    assert found(written, "no_loss", "VANISHED") == (Grade.FAIL, {identity_of(written, row)})


def test_a_live_record_that_was_overwritten_has_vanished_however_the_rows_are_cut():
    for cuts in ((), (2,)):
        written = plain()
        written.cut_at_streams = cuts
        streams = written.rows["stream"]
        first, second = (int(np.flatnonzero((streams == s) & (written.rows["kind"] == 0))[-1]) for s in (0, 2))
        written.add(1, 0, 1 << 30, row=first, content=1, finals=(0, 0))
        written.add(1, 0, 1 << 30, row=second, content=2, finals=(1,))
        assert found(written, "no_loss", "VANISHED") == (Grade.FAIL, {identity_of(written, first)})


def test_seen_live_and_gone_in_the_fresh_read_has_vanished():
    written = plain()
    row = written.find()
    written.lose(row, live=False)
    assert found(written, "no_loss", "VANISHED") == (Grade.FAIL, {identity_of(written, row)})


def test_vanished_where_the_log_lost_its_head_is_retention():
    written = plain()
    written.lose(written.find(), live=False)
    ends = np.zeros(2, written.columns["progress"].dtype)
    ends["topic"], ends["t_ns"] = 1, (STARTED_NS, STARTED_NS + SECOND)
    row = written.find()
    ends["partition"] = written.rows["in_partition"][row]
    offset = int(written.sightings["offset"][written.results_of(row)].max())
    for start, grade in ((offset, Grade.FAIL), (offset + 1, Grade.INCONCLUSIVE)):
        ends["log_start"] = 0, start
        written.columns["progress"] = np.concatenate((written.columns["progress"], ends))
        verdict = verdict_of(written, "no_loss")
        assert verdict.grade is grade
        assert ("retention" in verdict.reasons) is (grade is Grade.INCONCLUSIVE)


def test_what_vanished_from_a_compacted_topic_may_have_been_compacted():
    written = plain()
    written.lose(written.find(), live=False)
    topics = tuple(replace(topic, compacted=topic.name == "out") for topic in written.run.topics)
    verdict = verdict_of(written.facts(topics=topics), "no_loss")
    assert (verdict.grade, verdict.reasons) == (Grade.INCONCLUSIVE, ("retention",))


def test_rejected_and_yet_there_is_resurrected():
    written = plain()
    row = written.find()
    written.rows["outcome"][row] = Outcome.REJECTED
    assert found(written, "no_loss", "RESURRECTED") == (Grade.FAIL, {identity_of(written, row)})
    written.lose(row)
    written.rows["in_offset"][row] = -1
    assert found(written, "no_loss", "RESURRECTED") == (Grade.PASS, set())


def test_an_unknown_send_that_appeared_is_recovered_and_no_failure():
    written = plain()
    row = written.find()
    written.rows["acked_ns"][row] = -1
    assert found(written, "no_loss", "RECOVERED") == (Grade.PASS, {identity_of(written, row)})


def test_an_unknown_send_whose_result_came_has_appeared_though_its_record_was_not_read():
    written = plain()
    row = written.find()
    written.rows["outcome"][row], written.rows["in_offset"][row] = Outcome.INDETERMINATE, -1
    assert found(written, "no_loss", "RECOVERED") == (Grade.PASS, {identity_of(written, row)})


# --- stuck


def standing_still(for_s, *, injections=()):
    """Partition 0 resolves and commits nothing of what is due from 30 s on, and the tap looks on for `for_s`."""
    written = histories.history(plan=histories.segments(rate_hz=40), injections=injections)
    from_ns = STARTED_NS + 30 * SECOND
    rows = written.rows
    held = np.flatnonzero((rows["in_partition"] == 0) & (rows["due_ns"] >= from_ns))
    for row in held:
        written.lose(int(row))
    rows["committed"][held] = 0
    drain = {0: replace(written.run.drain[0], proved=False), 1: written.run.drain[1]}
    written.columns["progress"] = histories.progress(rows, from_ns + round(for_s * SECOND))
    stuck = written.columns["progress"]
    first = int(rows["in_offset"][held].min())
    here = stuck["partition"] == 0
    stuck["committed"][here] = np.minimum(stuck["committed"][here], first)
    return written.facts(drain=drain), held


def test_an_input_partition_that_stands_still_for_longer_than_ten_seconds_is_stuck():
    written, held = standing_still(13)
    grade, told = found(written, "no_loss", "STUCK")
    assert grade is Grade.FAIL
    assert identity_of(written, held[0]) in told
    assert all(stream % 2 == 0 for stream, _ in told)


def test_a_target_that_declares_a_longer_idle_time_may_stand_still_for_that_long():
    for idle_s, grade in ((12, Grade.FAIL), (14, Grade.INCONCLUSIVE)):
        written, _ = standing_still(13)
        assert verdict_of(written.facts(max_idle_ns=idle_s * SECOND), "no_loss").grade is grade


def test_a_shorter_standstill_is_unseen():
    written, _ = standing_still(9.5)
    assert found(written, "no_loss", "STUCK")[1] == set()
    assert found(written, "no_loss", "UNSEEN")[0] is Grade.INCONCLUSIVE


def test_a_partition_that_still_commits_is_unseen():
    written, _ = standing_still(13)
    stuck = written.columns["progress"]
    late = (stuck["partition"] == 0) & (stuck["t_ns"] > STARTED_NS + 37 * SECOND)
    stuck["committed"][late] += 1
    assert found(written, "no_loss", "STUCK")[1] == set()


def test_a_standstill_during_a_fault_is_the_faults():
    long = injection(call_ns=STARTED_NS + 29 * SECOND, clear_low_ns=STARTED_NS + 41 * SECOND,
                     clear_high_ns=STARTED_NS + 41 * SECOND)  # fmt: skip
    written, _ = standing_still(13, injections=(long,))
    assert found(written, "no_loss", "STUCK")[1] == set()
    written, _ = standing_still(23, injections=(long,))
    assert found(written, "no_loss", "STUCK")[0] is Grade.FAIL


def test_a_standstill_that_the_tap_could_not_have_seen_end_is_none():
    written, _ = standing_still(13)
    written.stall(STARTED_NS + 30 * SECOND, STARTED_NS + 41 * SECOND)
    assert found(written, "no_loss", "STUCK")[1] == set()
    written, _ = standing_still(13)
    samples = written.columns["progress"]
    blind = (samples["t_ns"] > STARTED_NS + 30 * SECOND) & (samples["t_ns"] < STARTED_NS + 41 * SECOND)
    written.columns["progress"] = samples[~blind]
    assert found(written, "no_loss", "STUCK")[1] == set()
    assert found(written, "no_loss", "UNSEEN")[0] is Grade.INCONCLUSIVE


def test_a_standstill_beside_a_short_stall_of_the_tap_is_one():
    written, _ = standing_still(13)
    written.stall(STARTED_NS + 28 * SECOND, STARTED_NS + 29 * SECOND)
    assert found(written, "no_loss", "STUCK")[0] is Grade.FAIL


def test_a_standstill_on_a_busy_machine_is_one():
    """The tap is late by a moment many times a second: whatever had come meanwhile it would have seen right after."""
    written, _ = standing_still(13)
    for tenth in range(130):
        at_ns = STARTED_NS + 30 * SECOND + tenth * 100 * MS
        written.stall(at_ns, at_ns + 30 * MS)
    assert found(written, "no_loss", "STUCK")[0] is Grade.FAIL


def test_a_sign_of_life_seen_late_ends_the_standstill_when_it_may_have_come():
    """Still from 30 s to 41 s, as the tap saw it; it was stalled for the last 1.5 s of it."""

    def held(due):
        t = due - STARTED_NS
        return np.where((t >= 30 * SECOND) & (t < 41 * SECOND), 41 * SECOND - t, 20 * MS)

    for stalled_s, stuck in ((0.1, True), (1.5, False)):
        written = histories.history(plan=histories.segments(rate_hz=40), latency=held)
        written.stall(STARTED_NS + round((41 - stalled_s) * SECOND), STARTED_NS + 41 * SECOND)
        assert bool(found(written, "no_loss", "STUCK")[1]) is stuck


def test_a_standstill_that_ended_was_one():
    def held(due):
        t = due - STARTED_NS
        return np.where((t >= 20 * SECOND) & (t < 32 * SECOND), 32 * SECOND - t, 20 * MS)

    written = histories.history(plan=histories.segments(rate_hz=40), latency=held)
    assert found(written, "no_loss", "STUCK")[0] is Grade.FAIL
