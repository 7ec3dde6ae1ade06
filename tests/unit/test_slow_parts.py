"""A part that itself answers late slows any pipeline: what waits meanwhile is held against none, all else is."""

from __future__ import annotations

import random
from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import PARTS, STARTED_NS, VERIFIERS, injection

from chaosd.experiment.spec import Recovery, Resources
from chaosd.journal.columns import NOT_KNOWN, Path, ProbeOutcome
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade
from chaosd.verification.case import WITNESSES, merge_spans
from chaosd.verification.compose import judge
from chaosd.verification.exposure import gather
from chaosd.verification.halts import Halts
from chaosd.verification.health import slow_parts

PHASES = {"warmup": 5.0, "baseline": 15.0, "faults": 5.0, "tail": 25.0}
# The fault ends at 25 s, the limit is 5 s and so is the hold.
SLOW = ((20, 34),)
CALLS = ("planned_at_ns", "call_ns", "returned_ns", "clear_low_ns", "clear_high_ns")
FLAPS = ((20, 26), (29.2, 34))


def at(second: float) -> int:
    return STARTED_NS + round(second * SECOND)


def waiting(*spans):
    """Everything due in one of the spans comes when it ends."""

    def latency(due_ns):
        base = histories.steady(due_ns)
        for from_s, until_s in spans:
            inside = (due_ns >= at(from_s)) & (due_ns < at(until_s))
            base = np.where(inside, np.maximum(at(until_s) - due_ns, base), base)
        return base

    return latency


def run(*spans, phases=PHASES, on="postgres"):
    """A run whose pipeline stood still in these seconds."""
    plan = histories.segments(rate_hz=50, phases=phases)
    return histories.history(plan=plan, latency=waiting(*spans), injections=(injection(on=on),))


def answers(written, from_s, until_s, took_ms, *, part="redis", path=Path.DIRECT, every=1, outcome=ProbeOutcome.OK):
    """Every so many of the probes of a part that were sent in these seconds took so long."""
    number, kept = written.run.parts.index(part), written.columns["canaries"]
    own = (kept["on"] == number) & (kept["path"] == path)
    rows, kept = kept[own].copy(), kept[~own]
    if not len(rows):  # the history has probes of the first part only
        rows = kept[(kept["on"] == 0) & (kept["path"] == path)].copy()
        rows["on"], rows["done_ns"], rows["outcome"] = number, rows["sent_ns"] + MS, ProbeOutcome.OK
    inside = np.flatnonzero((rows["sent_ns"] >= at(from_s)) & (rows["sent_ns"] < at(until_s)))[::every]
    rows["done_ns"][inside] = rows["sent_ns"][inside] + round(took_ms * MS)
    rows["outcome"][inside] = outcome
    written.columns["canaries"] = np.concatenate((kept, rows))
    return written


def recovery(written):
    judgement = judge(written, VERIFIERS, with_certificate=False)
    return next(verdict for verdict in judgement.verdicts if verdict.verifier == "recovery")


@pytest.mark.parametrize("spans", [SLOW, FLAPS])
@pytest.mark.parametrize("part", ["redis", "kafka"])
def test_a_pipeline_is_not_blamed_for_what_waits_while_a_part_is_slow(spans, part):
    verdict = recovery(answers(run(*spans), 24, 35, 40, part=part))
    assert verdict.grade is Grade.INCONCLUSIVE
    assert verdict.reasons == (f"part_slow:{part}",)
    (told,) = verdict.details["episodes"]
    assert told["low_ms"] > 5000
    assert told["reasons"] == [f"part_slow:{part}"]
    (slow,) = verdict.details["slow_parts"]
    assert (slow["part"], slow["median_ms"], slow["before_ms"]) == (part, 40.0, 1.0)
    assert slow["between_s"] == pytest.approx([24, 35], abs=0.5)


@pytest.mark.parametrize("spans", [SLOW, FLAPS])
@pytest.mark.parametrize(
    "slow",
    [
        pytest.param(None, id="all parts answer as ever"),
        pytest.param({"from_s": 24, "until_s": 26, "took_ms": 40}, id="early only"),
        pytest.param({"from_s": 24, "until_s": 35, "took_ms": 10.9}, id="by less than 10 ms"),
        pytest.param({"from_s": 0, "until_s": 50, "took_ms": 40}, id="before the fault as well"),
        pytest.param({"from_s": 24, "until_s": 35, "took_ms": 40, "path": Path.PROXIED}, id="through the proxies only"),
        pytest.param({"from_s": 24, "until_s": 35, "took_ms": 40, "every": 3}, id="now and then"),
        pytest.param({"from_s": 36, "until_s": 45, "took_ms": 40}, id="afterwards"),
    ],
)
def test_a_slow_pipeline_is_blamed_whatever_else_its_parts_do(spans, slow):
    written = run(*spans)
    verdict = recovery(answers(written, **slow) if slow else written)
    assert verdict.grade is Grade.FAIL
    assert verdict.reasons == ("too_slow",)
    assert "slow_parts" not in verdict.details


def test_three_times_as_late_is_not_late_where_that_is_usual_and_more_is():
    for took_ms, grade in ((59, Grade.FAIL), (61, Grade.INCONCLUSIVE)):
        written = answers(run(*SLOW), 0, 50, 20)
        assert recovery(answers(written, 24, 35, took_ms)).grade is grade, took_ms


def test_time_in_which_a_part_is_slow_does_not_count_and_all_other_time_does():
    """It stands still for 9 s after the heal; θ is 274 ms, by which each span of slowness is longer at its end: the
    clock shows 5 s of it where a part is slow for 3.7 s.
    """
    for slow_s, grade in ((3.5, Grade.FAIL), (3.9, Grade.INCONCLUSIVE)):
        for from_s in (26, 29):
            written = answers(run(*SLOW), from_s, from_s + slow_s, 40)
            assert recovery(written).grade is grade, (from_s, slow_s)


def test_a_flap_after_the_limit_is_not_held_against_a_pipeline_whose_part_is_slow():
    flap = ((20, 26), (30.5, 31))
    assert recovery(run(*flap)).grade is Grade.FAIL
    assert recovery(answers(run(*flap), 30, 31.2, 40)).reasons == ("part_slow:redis",)


def test_what_never_comes_back_is_blamed_although_a_part_was_slow_for_a_while():
    verdict = recovery(answers(run((20, 49)), 24, 40, 40))
    assert (verdict.grade, verdict.reasons) == (Grade.FAIL, ("not_recovered",))
    verdict = recovery(answers(run((20, 49)), 24, 50, 40))
    assert (verdict.grade, verdict.reasons) == (Grade.INCONCLUSIVE, ("part_slow:redis",))


def test_a_baseline_without_an_end_is_too_slow_with_a_slow_part_as_well():
    """A dead letter of the baseline was not seen, so θ has no end."""
    written = histories.history(plan=histories.segments(rate_hz=100, phases=PHASES), latency=waiting(*SLOW),
                                injections=(injection(on="postgres"),))  # fmt: skip
    written.facts(drain={})
    written.lose(written.find(kind=1, phase="baseline"))
    assert recovery(written).reasons == recovery(answers(written, 24, 26, 40)).reasons == ("baseline_too_slow",)


def test_probes_that_fail_are_late_answers_too():
    verdict = recovery(answers(run(*SLOW), 24, 35, 1, outcome=ProbeOutcome.TIMEOUT))
    assert "part_slow:redis" in verdict.reasons


def test_what_the_fault_itself_did_to_a_part_excuses_nothing():
    """The part is slow as long as the fault on it lasts, and a second for connections to notice its end."""
    written = answers(run(*SLOW, on="redis"), 20, 25.9, 900)
    assert recovery(written).reasons == ("too_slow",)
    assert slow_parts(written.run, gather(written)) == ()


def test_a_part_is_not_slow_before_it_was_seen_to_be_slow_after_its_own_fault():
    """Of the fault itself, the second after it and the two pings then there is no median."""
    written = answers(run(*SLOW, on="redis"), 20, 35, 40)
    (slow,) = slow_parts(written.run, gather(written))
    assert slow.from_ns == pytest.approx(at(26.3), abs=110 * MS)


@pytest.mark.parametrize("until_s", [26, 31, 40, 50])
def test_a_recovery_in_time_passes_with_its_certificate_although_a_part_was_slow(until_s):
    """What is planted to see whether a slow recovery is noticed must be slow in the time that counts."""
    judgement = judge(answers(run((20, 28), on="redis"), 24, until_s, 40, part="kafka"), VERIFIERS)
    assert (judgement.grade, judgement.reasons) == (Grade.PASS, ())
    assert judgement.certificate is not None
    assert judgement.certificate.by_class["SLOW-RECOVERY"] == (1, 1)


def test_a_slow_part_excuses_no_loss():
    written = answers(run(*SLOW), 24, 35, 40)
    written.lose(written.find())
    judgement = judge(written, VERIFIERS)
    assert judgement.grade is Grade.FAIL
    assert judgement.classes == ("LOST",)


def test_a_latency_outside_faults_that_a_slow_part_explains_is_not_too_late():
    for from_s, reasons in ((39.9, ("part_slow:redis",)), (44, ("too_late",))):
        written = run((20, 26), (40, 43)).expect(latency_p99_outside_faults_ns=300 * MS)
        assert recovery(answers(written, from_s, from_s + 3.2, 40)).reasons == reasons


@pytest.mark.parametrize(("until_s", "reasons"), [(84, ("part_slow:redis",)), (68, ("DEGRADED",))])
def test_a_latency_that_stays_higher_with_a_slow_part_is_not_degraded(until_s, reasons):
    phases = {"warmup": 5.0, "baseline": 15.0, "faults": 5.0, "tail": 60.0}

    def latency(due_ns):
        return histories.steady(due_ns) * np.where(due_ns >= at(40), 4, 1)

    plan = histories.segments(rate_hz=20, phases=phases)
    written = histories.history(plan=plan, latency=latency, injections=(injection(),))
    written.expect(resources=Resources(latency="as_before"))
    judgement = judge(answers(written, 40, until_s, 40), VERIFIERS, with_certificate=False)
    verdict = next(one for one in judgement.verdicts if one.verifier == "resources")
    assert verdict.reasons == reasons
    told = verdict.details["latency"].get("slow_parts", [])
    assert [(one["part"], one["median_ms"]) for one in told] == [("redis", 40)] * (reasons != ("DEGRADED",))


def test_a_latency_that_is_too_late_without_any_fault_is_a_slow_part_s_as_well():
    """What answers are usual is known from the baseline there."""
    for slow, reasons in (((20, 44), ("part_slow:redis",)), ((5, 7), ("too_late",))):
        phases = {"warmup": 5.0, "baseline": 15.0, "tail": 25.0}
        written = histories.history(plan=histories.segments(rate_hz=50, phases=phases), latency=waiting((21, 40)))
        written.expect(latency_p99_outside_faults_ns=300 * MS)
        assert recovery(answers(written, *slow, 40)).reasons == reasons


def test_a_part_that_the_target_does_not_use_excuses_nothing():
    """Known only where it was looked for: where direct connections are not, it may use them."""
    for proxied, direct, grade in (
        (0, 0, Grade.FAIL), (1, 0, Grade.INCONCLUSIVE), (0, 1, Grade.INCONCLUSIVE), (0, NOT_KNOWN, Grade.INCONCLUSIVE),
    ):  # fmt: skip
        written = answers(run(*SLOW, on="postgres"), 24, 35, 40, part="kafka")
        sockets = written.columns["exposure"][-20:].copy()
        sockets["on"], sockets["proxied"], sockets["direct"] = written.run.parts.index("kafka"), 0, 0
        sockets["proxied"][3], sockets["direct"][3] = proxied, direct
        written.columns["exposure"] = np.concatenate((written.columns["exposure"], sockets))
        assert recovery(written).grade is grade, (proxied, direct)


def test_many_moments_do_not_excuse_all_the_time_between_them():
    """Every second answer is late: θ after each would be all the time."""
    written = answers(run(*SLOW), 24, 36, 40, every=2)
    assert len(slow_parts(written.run, gather(written))) > 50
    assert recovery(written).reasons == ("too_slow",)


def test_every_slow_part_of_the_time_is_named_and_no_other():
    written = run(*SLOW, on="mail")
    for part, from_s, until_s in (("redis", 24, 30), ("kafka", 28, 35), ("postgres", 47, 49), ("redis", 12, 13)):
        answers(written, from_s, until_s, 40, part=part)
    verdict = recovery(written)
    assert verdict.reasons == ("part_slow:redis", "part_slow:kafka")
    assert {one["part"] for one in verdict.details["slow_parts"]} == {"redis", "kafka"}


def test_of_many_spans_the_longest_are_told():
    written = run(*SLOW)
    for nth in range(2 * WITNESSES):
        answers(written, 6 + nth * 0.4, 6.1 + nth * 0.4 + 0.1, 40)
    answers(written, 24, 35, 40)
    told = recovery(written).details["slow_parts"]
    assert max(until - since for since, until in (one["between_s"] for one in told)) == pytest.approx(11, abs=0.5)


def test_each_episode_is_excused_by_the_slowness_of_its_own_time_only():
    phases = {"warmup": 5.0, "baseline": 15.0, "faults": 35.0, "tail": 25.0}
    twice = tuple(
        replace(injection(fault, on="mail"), **{name: getattr(injection(), name) + at_s * SECOND for name in CALLS})
        for fault, at_s in (("f1", 0), ("f2", 30))
    )
    plan = histories.segments(rate_hz=50, phases=phases)
    written = histories.history(plan=plan, latency=waiting((20, 34), (50, 64)), injections=twice)
    verdict = recovery(answers(written, 24, 35, 40))
    assert [told["reasons"] for told in verdict.details["episodes"]] == [["part_slow:redis"], ["too_slow"]]
    assert verdict.grade is Grade.FAIL
    assert recovery(answers(written, 54, 65, 40)).reasons == ("part_slow:redis",)


def test_where_recovery_counts_from_the_injection_slowness_since_then_counts():
    for until_s, grade in ((21, Grade.FAIL), (24.9, Grade.INCONCLUSIVE)):
        written = run((20, 27), on="mail").expect(recovery=Recovery(from_="inject"))
        assert recovery(answers(written, 20.5, until_s, 40)).grade is grade, until_s


def test_one_slow_broker_of_several_is_enough():
    written = run(*SLOW, on="postgres")
    brokers = ("kafka-1", "kafka-2", "kafka-3")
    written.facts(parts=("redis", *brokers, "postgres"))
    for broker in brokers:
        answers(written, 24, 35, 40 if broker == "kafka-2" else 1, part=broker)
    assert recovery(written).reasons == ("part_slow:kafka-2",)


def test_four_pings_a_second_are_enough():
    written = answers(run(*SLOW), 24, 35, 40)
    pings = written.columns["canaries"]
    written.columns["canaries"] = pings[np.isin(pings["sent_ns"] // (50 * MS) % 5, (0, 1))]
    slow = slow_parts(written.run, gather(written))
    assert [(one.from_ns, one.until_ns) for one in slow] == [pytest.approx((at(24), at(35)), abs=600 * MS)]
    assert recovery(written).reasons == ("part_slow:redis",)


def test_no_reason_is_never_a_reason_to_pass():
    """Whatever a pipeline and its parts do: one that is late by the wall's clock has a reason, and never passes."""
    rng, seen = random.Random(7), set()
    for _ in range(60):
        gap = 25 + rng.random() * 6
        written = run((20, gap), (gap + rng.random(), gap + rng.random() * 8))
        for _ in range(rng.randrange(1, 4)):
            from_s = 23 + rng.random() * 10
            answers(written, from_s, from_s + rng.random() * 6, rng.choice((8, 40, 400)), part=rng.choice(PARTS))
        written.expect(latency_p99_outside_faults_ns=round(rng.random() * 3000) * MS)
        verdict = recovery(written)
        (told,) = verdict.details["episodes"]
        assert (verdict.grade is Grade.PASS) == (verdict.reasons == ())
        assert (told["verdict"] == "PASS") == (told["reasons"] == [])
        assert told["low_ms"] <= 5000 or told["verdict"] != "PASS"
        seen.add((told["verdict"], *told["reasons"]))
    assert len(seen) > 4, seen


def test_a_clock_that_stands_still_shows_the_time_outside_its_spans():
    rng = random.Random(5)
    for _ in range(200):
        given = pairs(rng, rng.randrange(5), 20)
        spans, clock, times = merge_spans(given), Halts(given), np.arange(260)
        stands = np.logical_or.reduce([(times >= a) & (times < b) for a, b in spans] or [np.zeros(260, bool)])
        assert (clock.at(times) == np.concatenate(([0], np.cumsum(~stands)[:-1]))).all()
        # Of what blocks, the time outside the spans is left, and points outside of them.
        blocks = pairs(rng, rng.randrange(6), 30)
        left = [
            clock.at(block).tolist() for block in blocks if not any(a <= block[0] <= block[1] <= b for a, b in spans)
        ]
        assert np.stack(clock.blocks(blocks[:, 0], blocks[:, 1]), axis=1).tolist() == left
        # After so much of its time: the first moment at which it shows that, or the last of a span that begins then.
        from_ns, lasts_ns = rng.randrange(200), rng.randrange(1, 60)
        end = clock.after(from_ns, lasts_ns)
        assert clock.at(np.array([end]))[0] - clock.at(np.array([from_ns]))[0] == lasts_ns


def pairs(rng, number, longest):
    starts = np.array([rng.randrange(200) for _ in range(number)], np.int64)
    return np.stack([starts, starts + [rng.randrange(longest) for _ in range(number)]], axis=1).astype(np.int64)
