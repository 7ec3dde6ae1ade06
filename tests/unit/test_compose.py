"""Composition: what a run's circumstances void, and what they cannot."""

from __future__ import annotations

import threading
from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import STARTED_NS, VERIFIERS, injection

from chaosd.experiment.spec import Known
from chaosd.journal.columns import NOT_KNOWN, Deviation, Path, Probe, ProbeOutcome
from chaosd.journal.model import Unhealthy
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.report import telling
from chaosd.verification.case import open_case
from chaosd.verification.certificate import certify
from chaosd.verification.compose import judge, known_outcome
from chaosd.verification.verifier import Verifier


def faulted(**changes):
    return histories.history(plan=histories.segments(rate_hz=50), injections=(injection(**changes),))


def lost(written):
    written.lose(written.find())
    return written


def corrupt(written):
    written.sightings["deviation"][written.results_of(written.find(nth=9))] = Deviation.FIELD
    return written


def test_a_run_in_which_all_is_right_passes_with_a_full_certificate():
    judgement = judge(faulted(), VERIFIERS)
    assert judgement.reasons == ()
    assert judgement.grade is Grade.PASS
    assert judgement.certificate is not None
    assert judgement.certificate.planted == judgement.certificate.noticed > 200
    assert judgement.faults[0].bite == judgement.faults[0].healed == judgement.faults[0].exposed == "proved"
    assert judgement.census.sent == 2000
    assert judgement.census.expected_dlq == 200


def test_a_judgement_does_not_depend_on_how_the_rows_are_cut():
    whole, cut = faulted(), faulted()
    cut.cut_at_streams = (2,)
    assert judge(whole, VERIFIERS, with_certificate=False) == judge(cut, VERIFIERS, with_certificate=False)


def test_the_same_history_is_judged_the_same_twice():
    assert judge(faulted(), VERIFIERS) == judge(faulted(), VERIFIERS)


def test_an_empty_history_does_not_pass():
    written = histories.history()
    written.rows, written.sightings = written.rows[:0], written.sightings[:0]
    judgement = judge(written, VERIFIERS)
    assert judgement.grade is Grade.INCONCLUSIVE
    assert "empty" in judgement.reasons


def test_without_verifiers_nothing_passes():
    assert judge(faulted(), ()).grade is Grade.INCONCLUSIVE


def test_a_verifier_that_crashes_is_inconclusive_and_named():
    def explode(case, partition):
        raise ZeroDivisionError("on purpose")

    broken = Verifier("broken", (), explode, lambda a, b: a, lambda case, a: a)
    judgement = judge(faulted(), (*VERIFIERS, broken))
    assert judgement.grade is Grade.INCONCLUSIVE
    assert "verifier_crashed:broken" in judgement.reasons


def test_a_crash_does_not_hide_a_fail():
    broken = Verifier("broken", (), lambda c, p: 1 // 0, lambda a, b: a, lambda case, a: a)
    assert judge(lost(faulted()), (*VERIFIERS, broken)).grade is Grade.FAIL


def test_a_verifier_that_notices_nothing_loses_its_pass():
    blind = tuple(
        replace(v, conclude=lambda case, partial: Verdict("no_loss", Grade.PASS)) if v.name == "no_loss" else v
        for v in VERIFIERS
    )
    judgement = judge(faulted(), blind)
    assert judgement.grade is Grade.INCONCLUSIVE
    assert judgement.reasons == ("certificate_incomplete:no_loss",)
    assert judgement.certificate.by_class["LOST"] == (20, 0)


def test_a_fail_needs_no_certificate():
    assert judge(lost(faulted()), VERIFIERS).certificate is None


@pytest.fixture(params=["here", "threads"])
def crew(request, monkeypatch):
    """Whether a verdict is there when the next thing begins, or comes meanwhile."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("chaosd.verification.cores._WORTH_ROWS", 0 if request.param == "threads" else 1 << 60)
    return request.param


def in_shares():
    written = faulted()
    written.cut_at_streams = (1, 2, 3)
    return written


def test_a_certificate_is_the_same_however_much_of_it_is_made_before_the_verdict_is_known(crew):
    judgement = judge(in_shares(), VERIFIERS)
    assert (judgement.grade, judgement.reasons) == (Grade.PASS, ())
    written = in_shares()
    case = open_case(written)
    assert judgement.certificate == certify(case, written, [one for one in VERIFIERS if one.applies(case)])


@pytest.mark.parametrize("grade", [Grade.FAIL, Grade.INCONCLUSIVE, None])
def test_a_verifier_that_speaks_against_a_pass_at_the_very_end_leaves_no_certificate(crew, grade):
    """Whatever of the copy was made until then; None breaks off."""
    copied = threading.Event()

    def fold(case, share):
        if not case.explained:
            copied.set()
        return ()

    def conclude(case, partial):
        if crew == "threads":  # the copy is being folded already
            assert copied.wait(60)
        if grade is None:
            raise ZeroDivisionError("on purpose")
        return Verdict("late", grade, ("claim",))

    late = Verifier("late", (), fold, lambda a, b: (), conclude)
    judgement = judge(in_shares(), (*VERIFIERS, late))
    assert judgement.grade is (grade or Grade.INCONCLUSIVE)
    assert judgement.certificate is None
    assert not judgement.reasons[0].startswith("certificate")
    assert copied.is_set() is (crew == "threads"), "nothing is planted where the verdict is known"


def test_nothing_is_planted_in_a_run_that_cannot_pass_for_a_reason_of_its_own(crew, monkeypatch):
    monkeypatch.setattr("chaosd.verification.compose.Copy", None)
    judgement = judge(in_shares().facts(sealed=False), VERIFIERS)
    assert (judgement.reasons, judgement.certificate) == (("unsealed",), None)


@pytest.mark.parametrize(
    ("reason", "facts"),
    [
        ("unsealed", {"sealed": False}),
        ("aborted", {"aborted": "Ctrl-C"}),
        ("torn:sightings-tap.arrows", {"torn": ("sightings-tap.arrows: cut at 5",)}),
        ("torn_facts:facts-tap.jsonl", {"torn": ("facts-tap.jsonl: cut at byte 5 of 9: the last line is not whole",)}),
        ("missing_file:acks-generator.arrows", {"missing": ("acks-generator.arrows",)}),
        ("tap_died", {"deaths": ("tap",)}),
        ("conductor_died", {"deaths": ("conductor",)}),
        ("generator_poisoned", {"poisoned": True}),
        ("stack_unhealthy:redis", {"unhealthy": (Unhealthy("redis", 0, SECOND, 3),)}),
    ],
)
def test_these_void_pass_and_absence_but_not_what_was_seen(reason, facts):
    right = judge(faulted().facts(**facts), VERIFIERS)
    assert right.grade is Grade.INCONCLUSIVE
    assert reason in right.reasons
    assert judge(lost(faulted()).facts(**facts), VERIFIERS).grade is Grade.INCONCLUSIVE
    assert judge(corrupt(faulted()).facts(**facts), VERIFIERS).grade is Grade.FAIL


@pytest.mark.parametrize(
    "torn", ["sightings-tap.arrows: differs from the seal", "facts-conductor.jsonl: chain broken at 5"]
)
def test_a_file_that_is_not_what_was_sealed_proves_nothing_at_all(torn):
    for history in (faulted(), lost(faulted()), corrupt(faulted())):
        judgement = judge(history.facts(torn=(torn,)), VERIFIERS)
        assert judgement.grade is Grade.INCONCLUSIVE
        assert f"altered:{torn.partition(':')[0]}" in judgement.reasons
    assert "integrity:void:CORRUPT" in judgement.reasons
    assert judgement.classes == ()


def test_an_unhealthy_stack_voids_a_slow_recovery_too():
    slow = histories.history(
        plan=histories.segments(rate_hz=50),
        injections=(injection(),),
        latency=lambda due: histories.steady(due) + late(due),
    )
    assert judge(slow, VERIFIERS).classes == ("SLOW-RECOVERY",)
    slow.facts(unhealthy=(Unhealthy("kafka", 0, SECOND, 3),))
    assert judge(slow, VERIFIERS).grade is Grade.INCONCLUSIVE


def late(due):
    """Everything due in [20 s, 33 s] comes at 33 s."""
    t = due - STARTED_NS
    return np.where((t >= 20 * SECOND) & (t < 33 * SECOND), 33 * SECOND - t, 0)


def test_a_respawned_watchdog_harms_no_evidence():
    assert judge(faulted().facts(deaths=("watchdog",)), VERIFIERS).grade is Grade.PASS


def test_a_fault_that_did_not_bite_voids_pass_only():
    written = faulted()
    written.columns["canaries"]["done_ns"] = written.columns["canaries"]["sent_ns"] + MS
    judgement = judge(written, VERIFIERS)
    assert judgement.grade is Grade.INCONCLUSIVE
    assert judgement.reasons == ("no_bite:f1",)
    assert judge(lost(written), VERIFIERS).grade is Grade.FAIL


def test_a_rise_below_four_fifths_of_the_delay_is_no_bite_and_above_it_is():
    for rise_ms, bite in ((239, "missing"), (241, "proved")):
        written = faulted()
        pings = written.columns["canaries"]
        slow = pings["done_ns"] - pings["sent_ns"] > 300 * MS
        pings["done_ns"] = pings["sent_ns"] + MS
        pings["done_ns"][slow] += rise_ms * MS
        assert judge(written, VERIFIERS, with_certificate=False).faults[0].bite == bite


def test_a_part_that_the_target_does_not_use_is_not_exposed():
    written = faulted()
    written.columns["exposure"]["proxied"] = 0
    assert judge(written, VERIFIERS).reasons == ("not_exposed:f1",)


def test_exposure_that_was_never_sampled_is_unknown():
    written = faulted()
    del written.columns["exposure"]
    assert judge(written, VERIFIERS).reasons == ("exposure_unknown:f1",)


def test_a_target_that_goes_past_the_proxy_is_told():
    written = faulted()
    written.columns["exposure"]["direct"][7] = 1
    judged = judge(written, VERIFIERS)
    assert judged.reasons == ("bypass:f1",)
    assert judged.faults[0].evidence["exposed"]["past_the_proxy"] is True


@pytest.mark.parametrize(("direct", "past"), [(0, False), (NOT_KNOWN, None)])
def test_whether_a_target_goes_past_the_proxy_is_told_only_where_it_is_known(direct, past):
    written = faulted()
    written.columns["exposure"]["direct"] = direct
    judged = judge(written, VERIFIERS)
    assert (judged.grade, judged.reasons) == (Grade.PASS, ())
    assert judged.faults[0].evidence["exposed"]["past_the_proxy"] is past
    assert ("past the proxy not known" in telling.evidence(judged.faults[0].evidence)) is (past is None)


def test_a_fault_that_was_never_injected_or_never_healed_voids_pass():
    assert "not_injected:f1" in judge(faulted(call_ns=-1, clear_high_ns=-1, state="planned"), VERIFIERS).reasons
    unhealed = judge(faulted(clear_low_ns=-1, clear_high_ns=-1, state="unhealed"), VERIFIERS)
    assert "not_healed:f1" in unhealed.reasons
    assert unhealed.grade is Grade.INCONCLUSIVE


def test_a_drain_that_is_not_proved_voids_pass_even_with_every_result_there():
    written = faulted()
    drain = {**written.run.drain, 1: replace(written.run.drain[1], proved=False)}
    assert judge(written.facts(drain=drain), VERIFIERS).reasons == ("drain_not_proved",)


@pytest.mark.parametrize(("failures", "apart_ms", "sick"), [(2, 1000, True), (1, 1000, False), (2, 400, False)])
def test_two_direct_failures_over_a_second_make_the_stack_unhealthy(failures, apart_ms, sick):
    written = faulted()
    probes = np.zeros(failures, written.columns["canaries"].dtype)
    probes["on"], probes["path"], probes["probe"] = 2, Path.DIRECT, Probe.PING
    probes["sent_ns"] = STARTED_NS + 10 * SECOND + np.arange(failures) * apart_ms * MS
    probes["done_ns"], probes["outcome"] = probes["sent_ns"] + MS, ProbeOutcome.TIMEOUT
    written.columns["canaries"] = np.concatenate((written.columns["canaries"], probes))
    assert ("stack_unhealthy:kafka" in judge(written, VERIFIERS).reasons) is sick


def test_direct_failures_inside_a_fault_on_that_part_are_the_fault():
    written = faulted()
    pings = written.columns["canaries"]
    inside = (pings["path"] == Path.DIRECT) & (pings["sent_ns"] > STARTED_NS + 21 * SECOND)
    pings["outcome"][inside & (pings["sent_ns"] < STARTED_NS + 24 * SECOND)] = ProbeOutcome.REFUSED
    assert judge(written, VERIFIERS).grade is Grade.PASS


def test_a_known_failure_is_exactly_its_verdict_and_classes():
    judgement = judge(lost(faulted()), VERIFIERS)
    assert known_outcome(judgement, Known("FAIL", ("LOST",), "why"))
    assert not known_outcome(judgement, Known("FAIL", ("LOST", "CORRUPT"), "why"))
    assert not known_outcome(judgement, Known("INCONCLUSIVE", ("LOST",), "why"))
    assert not known_outcome(judgement, None)
    assert not known_outcome(judge(corrupt(lost(faulted())), VERIFIERS), Known("FAIL", ("LOST",), "why"))


def test_a_witness_carries_its_lifeline():
    written = faulted()
    row = written.find(phase="faults")
    written.lose(row)
    witness = next(w for v in judge(written, VERIFIERS).verdicts for w in v.witnesses)
    assert (witness.anomaly, witness.stream, witness.seq) == ("LOST", *written.rows[["stream", "seq"]][row])
    assert witness.hop == "committed past without a result"
    told = [entry["what"] for entry in witness.lifeline]
    assert told.index("due") < told.index("sent") < told.index("acked") < told.index("seen committed past")
    assert "fault injected" in told
    assert [entry["at_ms"] for entry in witness.lifeline] == sorted(entry["at_ms"] for entry in witness.lifeline)
