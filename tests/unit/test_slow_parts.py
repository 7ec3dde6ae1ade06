"""A part that itself answers late slows any pipeline: what waits meanwhile is held against none, all else is."""

from __future__ import annotations

import random

import histories
import numpy as np
import pytest
from histories import STARTED_NS, VERIFIERS, injection

from chaosd.experiment.spec import Resources
from chaosd.journal.columns import Path, ProbeOutcome
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade
from chaosd.verification.case import merge_spans
from chaosd.verification.compose import judge
from chaosd.verification.halts import Halts
from chaosd.verification.health import slow_parts

PHASES = {"warmup": 5.0, "baseline": 15.0, "faults": 5.0, "tail": 25.0}
# The fault ends at 25 s, the limit is 5 s and so is the hold.
SLOW = ((20, 34),)
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
    rows = written.columns["canaries"].copy()
    rows["on"] = written.run.parts.index(part)
    rows = rows[rows["path"] == path]
    inside = np.flatnonzero((rows["sent_ns"] >= at(from_s)) & (rows["sent_ns"] < at(until_s)))[::every]
    rows["done_ns"][inside] = rows["sent_ns"][inside] + round(took_ms * MS)
    rows["outcome"][inside] = outcome
    kept = written.columns["canaries"]
    kept = kept[(kept["on"] != written.run.parts.index(part)) | (kept["path"] != path)]
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
    """It stands still for 9 s after the heal; θ is 274 ms, by which each span of slowness is longer at its end."""
    for slow_s, grade in ((3.5, Grade.FAIL), (4.5, Grade.INCONCLUSIVE)):
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
    assert slow_parts(written.run, written.columns["canaries"]) == ()


def test_a_part_is_not_slow_before_it_was_seen_to_be_slow_after_its_own_fault():
    """Of the fault itself, the second after it and the two pings then there is no median."""
    written = answers(run(*SLOW, on="redis"), 20, 35, 40)
    (slow,) = slow_parts(written.run, written.columns["canaries"])
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
    assert next(one for one in judgement.verdicts if one.verifier == "resources").reasons == reasons


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
