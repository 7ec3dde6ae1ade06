"""Each class of anomaly, where it holds and where it just does not."""

from __future__ import annotations

from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import faulted, found, identity_of, plain, verdict_of
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosd.journal.columns import Deviation, Outcome, Role
from chaosd.journal.model import Unhealthy
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade


@pytest.mark.parametrize("name", ["no_loss", "no_duplicates", "order", "integrity", "system_errors", "recovery"])
def test_a_right_history_passes(name):
    verdict = verdict_of(faulted(), name)
    assert verdict.grade is Grade.PASS
    assert not any(verdict.counts.values())


# --- duplicates


def test_two_results_of_one_identity_are_a_duplicate_by_policy():
    for policy, grade in (("none", Grade.FAIL), ("allowed_during_faults", Grade.FAIL), ("allowed", Grade.PASS)):
        written = faulted().expect(duplicates=policy)
        row = written.find(phase="baseline")
        written.give(row, Role.OUTPUT)
        assert found(written, "no_duplicates", "DUP-ID") == (grade, {identity_of(written, row)})


def test_a_duplicate_of_an_envelope_in_flight_during_a_fault_may_be_allowed():
    for policy, grade in (("none", Grade.FAIL), ("allowed_during_faults", Grade.PASS)):
        written = faulted().expect(duplicates=policy)
        row = written.find(phase="faults")
        written.give(row, Role.OUTPUT)
        assert found(written, "no_duplicates", "DUP-ID") == (grade, {identity_of(written, row)})


def test_an_envelope_is_in_flight_until_it_is_committed_past():
    written = faulted().expect(duplicates="allowed_during_faults")
    row = written.find(phase="baseline", nth=-1)
    written.give(row, Role.OUTPUT)
    committed = written.columns["progress"]
    assert found(written, "no_duplicates", "DUP-ID")[0] is Grade.PASS  # due 25 ms before the fault, committed in it
    committed["committed"][committed["t_ns"] >= written.rows["due_ns"][row] - SECOND] = 1 << 20
    assert found(written, "no_duplicates", "DUP-ID")[0] is Grade.FAIL


def test_one_offset_with_two_contents_is_told_and_with_one_content_not():
    written = plain()
    row = written.find()
    fresh = written.results_of(row) & (written.sightings["final"] == 1)
    assert found(written, "no_duplicates", "DUP-OFFSET") == (Grade.PASS, set())
    written.sightings["content"][fresh] += 1
    assert found(written, "no_duplicates", "DUP-OFFSET") == (Grade.FAIL, {identity_of(written, row)})


def test_one_offset_with_two_contents_is_told_across_shares():
    written = plain()
    written.cut_at_streams = (2,)
    streams = written.rows["stream"]
    first, second = (int(np.flatnonzero((streams == s) & (written.rows["kind"] == 0))[-1]) for s in (0, 2))
    written.add(1, 0, 1 << 30, row=first, content=1, finals=(0,))
    written.add(1, 0, 1 << 30, row=second, content=2, finals=(1,))
    assert verdict_of(written, "no_duplicates").counts["DUP-OFFSET"] == 1


def test_a_result_in_the_output_and_in_the_dlq_is_a_double_outcome():
    for kind, role in ((0, Role.DLQ), (1, Role.OUTPUT)):
        written = plain()
        row = written.find(kind=kind)
        written.give(row, role)
        assert found(written, "no_duplicates", "DOUBLE-OUTCOME") == (Grade.FAIL, {identity_of(written, row)})


# --- order


def swap(written, *, phase="tail", same_key=True):
    first = written.find(phase=phase, nth=5)
    rows = written.rows
    key = rows["stream"] == rows["stream"][first] if same_key else rows["stream"] == rows["stream"][first] + 2
    later = np.flatnonzero(key & (rows["kind"] == 0) & (rows["due_ns"] > rows["due_ns"][first]))
    second = int(later[0])
    offsets = [written.sightings["offset"][written.results_of(row)].copy() for row in (first, second)]
    written.sightings["offset"][written.results_of(first)] = offsets[1]
    written.sightings["offset"][written.results_of(second)] = offsets[0]
    return first


def test_within_a_key_a_later_first_appearance_is_reordered():
    written = plain()
    row = swap(written)
    assert found(written, "order", "REORDERED") == (Grade.FAIL, {identity_of(written, row)})


def test_between_keys_there_is_no_order():
    written = plain()
    swap(written, same_key=False)
    assert found(written, "order", "REORDERED") == (Grade.PASS, set())


def test_what_is_emitted_again_is_not_paired():
    written = plain()
    written.give(written.find(), Role.OUTPUT, offset=1 << 30)
    assert found(written, "order", "REORDERED") == (Grade.PASS, set())


def test_what_was_dead_lettered_and_replayed_is_not_paired():
    written = plain()
    row = swap(written)
    written.give(row, Role.DLQ)
    assert found(written, "order", "REORDERED") == (Grade.PASS, set())


def test_what_is_in_the_input_log_more_than_once_is_not_paired():
    written = plain()
    row = swap(written)
    written.rows["n_input"][row] = 2
    assert found(written, "order", "REORDERED") == (Grade.PASS, set())


def test_a_duplicate_while_the_stack_itself_failed_is_excused_like_one_during_a_fault():
    """A broker that loses its group hands out again what was not committed: no at-least-once target can help that."""
    for sick, grade in (((), Grade.FAIL), ((Unhealthy("kafka", 0, 1 << 60, 3),), Grade.PASS)):
        written = plain().expect(duplicates="allowed_during_faults").facts(unhealthy=sick)
        written.give(written.find(phase="baseline"), Role.OUTPUT)
        assert verdict_of(written, "no_duplicates").grade is grade


def test_order_outside_faults_is_judged_outside_faults():
    for phase, grade in (("faults", Grade.PASS), ("baseline", Grade.FAIL)):
        written = faulted().expect(order="per_key_outside_faults")
        swap(written, phase=phase)
        assert verdict_of(written, "order").grade is grade
    written = faulted().expect(order="any")
    swap(written, phase="baseline")
    assert verdict_of(written, "order").grade is Grade.PASS


# --- integrity


@pytest.mark.parametrize(
    ("deviation", "anomaly"),
    [
        (Deviation.FIELD, "CORRUPT"),
        (Deviation.CORRELATION, "CORRUPT"),
        (Deviation.CAUSATION, "CORRUPT"),
        (Deviation.TYPE, "CORRUPT"),
        (Deviation.FIELD | Deviation.TOPIC, "CORRUPT"),
        (Deviation.TOPIC, "MISROUTED"),
        (Deviation.KEY, "MISROUTED"),
    ],
)
def test_a_deviating_output_is_told_once(deviation, anomaly):
    written = plain()
    row = written.find()
    written.sightings["deviation"][written.results_of(row)] = deviation
    assert found(written, "integrity", anomaly) == (Grade.FAIL, {identity_of(written, row)})
    assert sum(verdict_of(written, "integrity").counts.values()) == 1


def test_an_input_record_that_its_digest_does_not_prove_is_corrupt():
    written = plain()
    row = written.find()
    mine = (written.sightings["row"] == row) & (written.sightings["topic"] == 0)
    written.sightings["deviation"][mine] = Deviation.DIGEST
    assert found(written, "integrity", "CORRUPT") == (Grade.FAIL, {identity_of(written, row)})


@pytest.mark.parametrize(
    ("stream", "deviation", "anomaly", "grade"),
    [
        (0, Deviation.UNPLANNED, "PHANTOM", Grade.FAIL),
        (0, Deviation.NONE, "PHANTOM", Grade.FAIL),
        (0, Deviation.FOREIGN, "FOREIGN", Grade.PASS),
        (histories.NO_STREAM, Deviation.UNIDENTIFIED, "UNIDENTIFIED", Grade.FAIL),
    ],
)
def test_strays_are_told_apart(stream, deviation, anomaly, grade):
    written = plain()
    written.add(1, 0, 1 << 30, stream=stream, seq=1 << 31, deviation=deviation)
    verdict = verdict_of(written, "integrity")
    assert verdict.grade is grade
    assert {name: n for name, n in verdict.counts.items() if n} == {anomaly: 1}
    assert verdict.witnesses[0].detail == f"out[0]@{1 << 30}"


def test_a_result_of_an_envelope_that_was_never_sent_is_a_phantom():
    written = plain()
    row = written.find()
    written.rows["outcome"][row] = Outcome.NOT_SENT
    assert found(written, "integrity", "PHANTOM")[0] is Grade.FAIL


# --- system errors


def test_a_system_error_that_did_not_come_is_missing():
    written = plain()
    row = written.find(kind=1)
    written.lose(row)
    assert found(written, "system_errors", "MISSING-ERROR") == (Grade.FAIL, {identity_of(written, row)})
    assert verdict_of(written, "no_loss").grade is Grade.PASS


def test_a_missing_system_error_without_proof_of_the_drain_is_unseen():
    written = plain()
    row = written.find(kind=1)
    written.lose(row)
    written.facts(drain={n: replace(d, proved=False) for n, d in written.run.drain.items()})
    assert verdict_of(written, "system_errors").grade is Grade.PASS
    assert found(written, "no_loss", "UNSEEN") == (Grade.INCONCLUSIVE, {identity_of(written, row)})


@pytest.mark.parametrize("flag", ["ERROR_TYPE", "CORRELATION", "CAUSATION", "COORDINATES", "PAYLOAD", "UNDECODABLE"])
def test_a_system_error_that_says_something_wrong_is_told(flag):
    written = plain()
    row = written.find(kind=1)
    written.sightings["deviation"][written.results_of(row)] = Deviation[flag]
    assert found(written, "system_errors", "WRONG-ERROR") == (Grade.FAIL, {identity_of(written, row)})
    assert verdict_of(written, "integrity").grade is Grade.PASS


def test_a_system_error_for_a_good_envelope_is_unexpected_and_not_a_loss():
    written = plain()
    row = written.find()
    written.lose(row)
    written.give(row, Role.DLQ)
    assert found(written, "system_errors", "UNEXPECTED-ERROR") == (Grade.FAIL, {identity_of(written, row)})
    assert verdict_of(written, "no_loss").grade is Grade.PASS


def test_unexpected_system_errors_may_be_allowed_from_injection_to_clear_and_limit():
    for after_s, grade in ((4.9, Grade.PASS), (5.2, Grade.FAIL)):
        written = faulted().expect(system_errors="allowed_during_faults")
        clear_ns = written.run.injections[0].clear_high_ns
        row = int(np.flatnonzero((written.rows["sent_ns"] > clear_ns + round(after_s * SECOND) - 25 * MS)
                                 & (written.rows["kind"] == 0) & (written.rows["stream"] == 0))[0])  # fmt: skip
        seen = int(written.rows["first_output_ns"][row])
        written.lose(row)
        written.give(row, Role.DLQ, at_ns=seen)
        assert verdict_of(written, "system_errors").grade is grade


# --- against a naive checker


@settings(max_examples=25, deadline=None)
@given(lost=st.sets(st.integers(0, 399), max_size=12), doubled=st.sets(st.integers(0, 399), max_size=12))
def test_loss_and_duplicates_agree_with_a_naive_checker(lost, doubled):
    written = histories.history(plan=histories.segments(rate_hz=10))
    for row in lost:
        written.lose(row)
    for number, row in enumerate(doubled - lost):
        written.give(row, Role.OUTPUT if written.rows["kind"][row] == 0 else Role.DLQ, offset=(1 << 30) + number)
    seen: dict[tuple[int, int], set[tuple[int, int, int]]] = {}
    for sighting in written.sightings[written.sightings["topic"] > 0]:
        where = tuple(int(sighting[name]) for name in ("topic", "partition", "offset"))
        seen.setdefault((int(sighting["stream"]), int(sighting["seq"])), set()).add(where)
    sent = {identity_of(written, row): int(written.rows["kind"][row]) for row in range(len(written.rows))}
    naive_lost = {identity for identity in sent if identity not in seen}
    naive_twice = {identity for identity, places in seen.items() if len(places) > 1}
    told_lost = found(written, "no_loss", "LOST")[1] | found(written, "system_errors", "MISSING-ERROR")[1]
    told_twice = found(written, "no_duplicates", "DUP-ID")[1]
    assert told_lost == naive_lost
    assert told_twice == naive_twice


def test_a_result_beyond_those_owed_is_a_duplicate_even_where_another_is_missing():
    written = faulted().expect(duplicates="none")
    row = written.find(phase="baseline")
    written.rows["n_output"][row], written.rows["n_more"][row] = 0, 1
    assert found(written, "no_duplicates", "DUP-ID") == (Grade.FAIL, {identity_of(written, row)})
