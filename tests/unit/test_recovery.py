"""Recovery time as an interval: it contains the truth, and it decides only what it knows."""

from __future__ import annotations

import random
from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import STARTED_NS, injection, verdict_of

from chaosd.experiment.spec import Recovery
from chaosd.journal.columns import Outcome
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade
from chaosd.verification.age import age, clean_from
from chaosd.verification.baseline import measure, percentile
from chaosd.verification.latency import Spans, stalled_ns


def outage(until_s, *, from_s=20.0, base=histories.steady):
    """Everything due in the outage comes when it ends."""

    def latency(due_ns):
        t = due_ns - STARTED_NS
        inside = (t >= from_s * SECOND) & (t < until_s * SECOND)
        return np.where(inside, np.maximum(round(until_s * SECOND) - t, base(due_ns)), base(due_ns))

    return latency


def recover(until_s, *, rate_hz=100, **changes):
    plan = histories.segments(rate_hz=rate_hz)
    return histories.history(plan=plan, latency=outage(until_s), injections=(injection(**changes),))


def episode(written):
    (told,) = verdict_of(written, "recovery").details["episodes"]
    return told


# --- the age curve


def test_the_age_is_that_of_the_oldest_one_waiting_at_every_time():
    rng = random.Random(7)
    for _ in range(40):
        # Even times for what happens, odd ones to look: no question of open or closed ends.
        starts = 2 * np.array([rng.randrange(500) for _ in range(60)])
        ends = starts + np.array([rng.choice([0, 2, 6, 40, 300]) for _ in range(60)])
        curve = age(starts, ends)
        times = np.arange(1, 1400, 2)
        waits = (starts[:, None] <= times) & (ends[:, None] > times)
        oldest = np.where(waits, starts[:, None], 1 << 40).min(axis=0)
        naive = np.where(waits.any(axis=0), times - oldest, 0)
        assert (curve.at(times) == naive).all()
        inside = np.zeros(len(times), bool)
        for start, end in zip(*curve.above(30), strict=True):
            inside |= (times > start) & (times < end)
        assert (inside == (naive > 30)).all()
        # The age is linear between even times, so its middle gives the integral exactly.
        assert curve.excess_ns_s(30, 0, 1400) * 1e9 == pytest.approx(2 * np.clip(naive - 30, 0, None).sum(), abs=1)


def test_the_picture_of_the_age_shows_its_peaks():
    times, ages = age(np.array([100]), np.array([190])).curve(0, 1000, 10)
    assert list(times[:3]) == [0, 100, 200]
    assert list(ages[:3]) == [0, 89, 0]


@pytest.mark.parametrize(
    ("blocks", "earliest", "answer"),
    [
        ([], 10, 10),
        ([(0, 5)], 10, 10),
        ([(0, 12)], 10, 12),
        ([(30, 30)], 10, 10),
        ([(29, 29)], 10, 29),
        ([(12, 13), (20, 40)], 10, 40),
        ([(20, 40), (12, 13)], 10, 40),
        ([(12, 81)], 10, None),
    ],
)
def test_calm_begins_where_nothing_blocks_a_whole_window(blocks, earliest, answer):
    spans = np.array(blocks, np.int64).reshape(-1, 2)
    assert clean_from(spans[:, 0], spans[:, 1], earliest, 20, 100) == answer


# --- latency and baseline


def test_a_stall_of_the_tap_reaches_back_to_its_beginning():
    stalls = np.array([[100, 200]])
    assert list(stalled_ns(stalls, np.array([99, 100, 150, 200, 201]))) == [0, 0, 50, 100, 0]


def test_a_stall_of_the_judge_widens_the_latency_downwards_only():
    due, seen = np.array([0]), np.array([150])
    spans = Spans(due, due + 10, seen - 50, seen)
    assert (spans.low_ns[0], spans.high_ns[0]) == (90, 150)


def test_rare_tails_of_few_values_are_their_maximum():
    assert percentile(np.arange(999), 99.9) == 998
    assert percentile(np.arange(1000), 99.9) == 998
    assert percentile(np.array([3, 1, 2]), 50) == 2


def kinds(outputs, dlq):
    def spans(n):
        due = np.arange(n) * 10 * MS
        return Spans(due, due + MS, due + 20 * MS, due + 20 * MS)

    return {"output": spans(outputs), "dlq": spans(dlq)}


def test_a_baseline_needs_thirty_results_and_a_rare_kind_shares_them():
    assert measure(kinds(29, 0)) is None
    measured = measure(kinds(30, 2))
    assert (measured["output"].pooled, measured["dlq"].pooled) == (False, True)
    assert measured["dlq"].n == 32
    assert measured["output"].thresholds_ns(None) == (19 * MS + 250 * MS, 20 * MS + 250 * MS)
    assert measured["output"].thresholds_ns(100 * MS) == (100 * MS, 100 * MS)


def test_halves_of_the_baseline_that_differ_make_it_unstable():
    for second_half_ms, grade in ((39, Grade.PASS), (70, Grade.INCONCLUSIVE)):

        def latency(due_ns, late=second_half_ms * MS):
            return np.where(due_ns < STARTED_NS + round(12.5 * SECOND), 20 * MS, late)

        written = histories.history(
            plan=histories.segments(rate_hz=100), latency=latency, injections=(injection(),), ack_ns=0
        )
        verdict = verdict_of(written, "recovery")
        assert verdict.grade is grade, second_half_ms
        assert ("baseline_unstable" in verdict.reasons) is (grade is Grade.INCONCLUSIVE)


def test_a_threshold_above_a_quarter_of_the_limit_is_too_slow_to_judge_by():
    for base_ms, grade in ((620, Grade.PASS), (640, Grade.INCONCLUSIVE)):
        written = histories.history(
            plan=histories.segments(rate_hz=100),
            latency=lambda due, ms=base_ms: np.full(len(due), ms * MS),
            injections=(injection(),),
        )
        assert verdict_of(written, "recovery").grade is grade


# --- verdicts


@pytest.mark.parametrize(
    ("until_s", "grade"),
    [(25.0, Grade.PASS), (29.9, Grade.PASS), (30.3, Grade.FAIL), (33.0, Grade.FAIL)],
)
def test_recovery_within_the_limit_passes_and_beyond_it_fails(until_s, grade):
    written = recover(until_s)
    told = episode(written)
    assert verdict_of(written, "recovery").grade is grade
    assert told["low_ms"] <= round((until_s - 25.0) * 1000) <= told["high_ms"]


def test_a_pipeline_that_never_felt_the_fault_recovers_at_once():
    written = histories.history(plan=histories.segments(rate_hz=100), injections=(injection(),))
    assert episode(written)["low_ms"] == 0
    assert episode(written)["high_ms"] == 0
    assert episode(written)["detection_ms"] is None


@pytest.mark.parametrize("until_s", [25.0, 30.3, 33.0, 45.0])
def test_a_verdict_that_nobody_explains_is_the_same_verdict(until_s):
    """The certificate's: it counts who is named."""
    written = recover(until_s)
    told, bare = (verdict_of(written, "recovery", unlimited=unlimited) for unlimited in (False, True))
    assert replace(told, details={}) == replace(bare, details={})
    assert "flaps" in told.details["episodes"][0]
    assert "flaps" not in bare.details["episodes"][0]


def test_who_never_comes_back_has_not_recovered():
    written = recover(45.0)
    verdict = verdict_of(written, "recovery")
    assert verdict.reasons == ("not_recovered",)
    assert verdict.witnesses[0].anomaly == "SLOW-RECOVERY"
    assert episode(written)["high_ms"] is None


def test_one_late_envelope_is_a_slow_recovery_and_its_witness():
    written = recover(25.0)
    row = written.find(nth=3)
    written.rows["first_output_ns"][row] = written.rows["last_output_ns"][row] = STARTED_NS + 32 * SECOND
    verdict = verdict_of(written, "recovery")
    assert verdict.grade is Grade.FAIL
    assert [(w.stream, w.seq) for w in verdict.witnesses] == [tuple(written.rows[["stream", "seq"]][row])]


def test_lost_envelopes_are_left_to_the_verifier_of_loss():
    written = recover(25.0)
    written.lose(written.find(nth=3))
    assert verdict_of(written, "recovery").grade is Grade.PASS


def test_unseen_envelopes_stay_in():
    written = recover(25.0)
    written.lose(written.find(nth=3))
    written.facts(drain=None)
    assert verdict_of(written, "recovery").grade is Grade.FAIL


def test_a_result_that_only_the_fresh_read_saw_decides_nothing():
    written = recover(25.0)
    written.lose(written.find(nth=3), fresh=False)
    assert verdict_of(written, "recovery").grade is Grade.INCONCLUSIVE


def test_an_observation_that_ends_too_early_is_too_short():
    for tail_s, grade in ((10.5, Grade.PASS), (9.5, Grade.INCONCLUSIVE)):
        phases = {"warmup": 5.0, "baseline": 15.0, "faults": 5.0, "tail": tail_s}
        written = histories.history(plan=histories.segments(rate_hz=100, phases=phases), injections=(injection(),))
        verdict = verdict_of(written, "recovery")
        assert verdict.grade is grade
        assert ("too_short" in verdict.reasons) is (grade is Grade.INCONCLUSIVE)


def test_a_stall_of_the_judge_at_the_limit_decides_nothing_and_says_why():
    written = recover(30.5)
    written.stall(STARTED_NS + round(29.5 * SECOND), STARTED_NS + round(30.6 * SECOND))
    verdict = verdict_of(written, "recovery")
    assert verdict.grade is Grade.INCONCLUSIVE
    assert verdict.reasons == ("judge_stalled",)


def test_a_late_generator_at_the_limit_decides_nothing_and_says_why():
    written = histories.history(plan=histories.segments(rate_hz=100), injections=(injection(),))
    rows = written.rows
    t = rows["due_ns"] - STARTED_NS
    held = (t >= 20 * SECOND) & (t < 31 * SECOND)
    rows["acked_ns"][held] = STARTED_NS + 31 * SECOND
    for name in ("first_output_ns", "last_output_ns", "first_dlq_ns"):
        rows[name][held & (rows[name] >= 0)] = STARTED_NS + 31 * SECOND + 20 * MS
    verdict = verdict_of(written, "recovery")
    assert verdict.grade is Grade.INCONCLUSIVE
    assert verdict.reasons == ("generator_late",)


def test_sends_that_the_broker_never_took_are_not_charged_to_the_target():
    written = histories.history(plan=histories.segments(rate_hz=100), injections=(injection(),))
    second = (written.rows["due_ns"] - STARTED_NS) // SECOND
    written.rows["outcome"][(second >= 26) & (second < 31)] = Outcome.INDETERMINATE
    verdict = verdict_of(written, "recovery")
    assert verdict.reasons == ("generator_late",)


def test_from_inject_counts_from_the_injection():
    for until_s, grade in ((24.0, Grade.PASS), (25.8, Grade.FAIL)):
        written = recover(until_s).expect(recovery=Recovery(from_="inject"))
        assert verdict_of(written, "recovery").grade is grade


def test_overlapping_faults_are_one_episode_and_distant_ones_two():
    def two(gap_s):
        second = injection(
            "f2",
            call_ns=STARTED_NS + round((25 + gap_s) * SECOND),
            returned_ns=STARTED_NS + round((25 + gap_s) * SECOND),
            clear_low_ns=STARTED_NS + round((26 + gap_s) * SECOND),
            clear_high_ns=STARTED_NS + round((26 + gap_s) * SECOND),
        )
        phases = {"warmup": 5.0, "baseline": 15.0, "faults": 20.0, "tail": 15.0}
        plan = histories.segments(rate_hz=100, phases=phases)
        return verdict_of(histories.history(plan=plan, injections=(injection(), second)), "recovery")

    assert [told["fault"] for told in two(9).details["episodes"]] == ["f1+f2"]
    assert [told["fault"] for told in two(11).details["episodes"]] == ["f1", "f2"]


def test_a_fault_that_was_never_healed_is_not_charged_to_the_pipeline():
    """What is still broken explains why nothing comes back; a fault that only begins later explains nothing."""
    for call_s, grade in ((22, Grade.INCONCLUSIVE), (39, Grade.FAIL)):
        stays = injection("f2", call_ns=STARTED_NS + call_s * SECOND, clear_low_ns=-1, clear_high_ns=-1,
                          state="unhealed")  # fmt: skip
        plan = histories.segments(rate_hz=100)
        written = histories.history(plan=plan, latency=outage(39.0), injections=(injection(), stays))
        verdict = verdict_of(written, "recovery")
        assert verdict.grade is grade, call_s
        assert "not_healed" in verdict.reasons


def test_a_send_that_may_be_in_the_log_waits_in_the_upper_age_until_the_log_was_read():
    written = recover(25.0)
    row = written.find(nth=3)
    written.lose(row)
    written.rows["outcome"][row], written.rows["in_offset"][row] = Outcome.INDETERMINATE, -1
    assert episode(written)["high_ms"] is not None
    written.facts(fresh_complete=False)
    assert episode(written)["high_ms"] is None
    assert episode(written)["low_ms"] == 0
    assert verdict_of(written, "recovery").grade is Grade.INCONCLUSIVE


def test_latency_outside_faults_is_judged_by_its_99th_percentile():
    for limit_ms, grade in ((30, Grade.PASS), (23, Grade.FAIL), (25, Grade.INCONCLUSIVE)):
        written = recover(25.5).expect(latency_p99_outside_faults_ns=limit_ms * MS)
        assert verdict_of(written, "recovery").grade is grade, limit_ms


def test_a_reused_baseline_counts_as_long_as_the_run_itself_agrees_with_it():
    def judged(p50_ms, phases, *, reuse=True):
        written = histories.history(plan=histories.segments(rate_hz=100, phases=phases), injections=(injection(),))
        kinds = {
            "output": {
                "n": 3000,
                "p50_low_ns": p50_ms * MS,
                "p50_high_ns": p50_ms * MS,
                "p999_low_ns": 2 * p50_ms * MS,
                "p999_high_ns": 2 * p50_ms * MS,
            }
        }
        return verdict_of(written.facts(baseline_reused={"kinds": kinds}) if reuse else written, "recovery")

    short = {"warmup": 19.0, "baseline": 1.0, "faults": 5.0, "tail": 15.0}
    none = {"warmup": 20.0, "faults": 5.0, "tail": 15.0}
    assert judged(20, short).grade is Grade.PASS
    assert judged(20, short).details["baseline"]["dlq"]["n"] == 3000
    assert judged(70, short).reasons == ("baseline_unstable",)
    assert judged(20, none).reasons == ("baseline_unstable",)
    assert judged(20, none, reuse=False).reasons == ("baseline_missing",)


def test_a_backlog_that_explains_the_failure_is_named():
    phases = {"burst": 5.0, "baseline": 15.0, "faults": 5.0, "tail": 15.0}

    def full(due_ns):
        """The burst takes 6 s, so that a fifth above the rate is all there is to catch up with."""
        t = due_ns - STARTED_NS
        return np.where(t < 5 * SECOND, t // 5 + 20 * MS, histories.steady(due_ns))

    plan = histories.segments(rate_hz=100, phases=phases)
    plan = (plan[0].__class__(0, "burst", 0, 500, STARTED_NS, 9 * MS, 4), *plan[1:])
    written = histories.history(plan=plan, latency=outage(33.0, base=full), injections=(injection(),))
    verdict = verdict_of(written, "recovery")
    assert verdict.reasons == ("too_slow", "capacity")
    assert verdict.grade is Grade.FAIL
