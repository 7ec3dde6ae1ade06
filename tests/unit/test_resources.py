"""What the target uses: leaks, a growing queue, a slower pipeline, too many connections; and when nobody can tell."""

from __future__ import annotations

import random

import histories
import numpy as np
import pytest
from histories import STARTED_NS, injection, verdict_of

from chaosd.experiment.spec import Resources
from chaosd.journal import columns
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.verdict import Grade
from chaosd.verification.reasons import void
from chaosd.verification.trend import trend

PHASES = {"warmup": 5.0, "baseline": 45.0, "faults": 5.0, "tail": 40.0}
FAULT_S = 50.0
MEBI = 1 << 20


def fault():
    at = [STARTED_NS + round(s * SECOND) for s in (FAULT_S, FAULT_S + 5)]
    return injection(call_ns=at[0], returned_ns=at[0], clear_low_ns=at[1], clear_high_ns=at[1])


def observed(*, memory=None, files=None, sockets=None, phases=PHASES, due_to_result=histories.steady, **asked):
    """Twice a second of what the target uses, as functions of the seconds since the start."""
    faults = (fault(),) if phases is PHASES else ()
    plan = histories.segments(rate_hz=20, phases=phases)
    written = histories.history(plan=plan, latency=due_to_result, injections=faults)
    rng = random.Random(3)
    t_s = np.arange(0, sum(phases.values()), 0.5)
    rows = np.zeros(len(t_s), columns.RESOURCES.dtype)
    rows["t_ns"], rows["process"], rows["pid"], rows["state"] = STARTED_NS + t_s * SECOND, 4, 9, columns.State.RUNNING
    noise = np.array([rng.uniform(-2, 2) * MEBI for _ in t_s])
    rows["rss_bytes"] = (120 * MEBI if memory is None else memory(t_s)) + noise
    rows["fds"] = 30 + np.array([rng.choice([0, 0, 1]) for _ in t_s]) if files is None else files(t_s)
    exposure = np.zeros(len(t_s), columns.EXPOSURE.dtype)
    exposure["t_ns"], exposure["proxied"] = rows["t_ns"], 3 if sockets is None else sockets(t_s)
    written.columns["resources"], written.columns["exposure"] = rows, exposure
    written.columns["progress"]["end"] = written.columns["progress"]["committed"] + 2
    return written.expect(resources=Resources(**asked))


def judged(**what):
    return verdict_of(observed(**what), "resources")


def test_nothing_is_judged_that_was_not_asked_for():
    short = {"warmup": 1.0, "baseline": 2.0}
    verdict = judged(memory=lambda t: t * 100 * MEBI, phases=short)
    assert (verdict.grade, verdict.reasons) == (Grade.PASS, ())


def test_a_target_that_stays_as_it_is_passes_all():
    verdict = judged(leak="none", queue="bounded", latency="as_before", connections=3)
    assert (verdict.grade, verdict.reasons) == (Grade.PASS, ())
    assert verdict.details["memory of target"]["calm_s"] > 60


@pytest.mark.parametrize(
    ("what", "about"),
    [
        ({"memory": lambda t: (120 + t) * MEBI}, "memory of target"),
        ({"files": lambda t: 30 + t // 4}, "files of target"),
        ({"sockets": lambda t: 3 + t // 4}, "connections to redis"),
    ],
)
def test_what_grows_all_the_time_is_a_leak(what, about):
    verdict = judged(leak="none", **what)
    assert (verdict.grade, verdict.reasons) == (Grade.FAIL, ("LEAK",))
    assert verdict.witnesses[0].detail.startswith(about)


def test_a_start_that_warms_up_or_a_buffer_kept_after_an_outage_is_no_leak():
    for memory in (
        lambda t: (60 + np.minimum(t, 5) * 12) * MEBI,
        lambda t: np.where(t < FAULT_S, 120, 220) * MEBI,
        lambda t: np.where(t == 20, 900, 120) * MEBI,
    ):
        assert judged(leak="none", memory=memory).grade is Grade.PASS


def test_connections_that_a_fault_cost_must_come_back():
    for after, grade in ((6, Grade.PASS), (9, Grade.FAIL)):
        verdict = judged(leak="none", sockets=lambda t, n=after: np.where(t < FAULT_S, 3, n))
        assert verdict.grade is grade
    assert "not given back" in verdict.witnesses[0].detail


def test_a_process_that_is_started_anew_is_not_compared_with_the_one_before():
    written = observed(leak="none", memory=lambda t: np.where(t < 30, 50, 150) * MEBI)
    rows = written.columns["resources"]
    rows["started"] = rows["t_ns"] >= STARTED_NS + 30 * SECOND
    assert verdict_of(written, "resources").grade is Grade.PASS


@pytest.mark.parametrize("asked", [{"leak": "none"}, {"queue": "bounded"}, {"latency": "as_before"}])
def test_a_run_that_is_too_short_abstains(asked):
    verdict = judged(phases={"warmup": 1.0, "baseline": 1.0, "tail": 8.0}, **asked)
    assert (verdict.grade, verdict.reasons) == (Grade.INCONCLUSIVE, ("resources_too_short",))


def test_without_samples_nothing_is_known():
    written = observed(leak="none")
    del written.columns["resources"]
    del written.columns["exposure"]
    assert verdict_of(written, "resources").reasons == ("resources_unknown",)


def test_a_queue_that_grows_is_a_backlog_and_one_that_an_outage_left_is_not():
    for lag, grade in ((lambda t: t * 3, Grade.FAIL), (lambda t: np.where(t > FAULT_S, 100, 0), Grade.PASS)):
        written = observed(queue="bounded")
        progress = written.columns["progress"]
        progress["end"] = progress["committed"] + lag((progress["t_ns"] - STARTED_NS) / SECOND)
        verdict = verdict_of(written, "resources")
        assert verdict.grade is grade
        assert verdict.counts["BACKLOG"] == int(grade is Grade.FAIL)


def test_a_pipeline_that_stays_slower_after_the_faults_is_degraded():
    for later_ms, grade in ((35, Grade.PASS), (90, Grade.FAIL)):

        def latency(due, later=later_ms * MS):
            return np.where(due < STARTED_NS + round(FAULT_S * SECOND), 20 * MS, later)

        written = observed(due_to_result=latency, latency="as_before")
        verdict = verdict_of(written, "resources")
        assert verdict.grade is grade
    assert verdict.details["latency"]["after_ms"][1] == 90


def test_more_connections_at_once_than_allowed_are_told_with_their_part():
    for most, grade in ((None, Grade.PASS), (9, Grade.PASS), (8, Grade.FAIL)):
        verdict = judged(sockets=lambda t: np.where(t == 20, 9, 3), connections=most)
        assert verdict.grade is grade
    assert verdict.witnesses[0].detail == "connections at once: 9 to redis"


def test_connections_of_a_target_that_chaosd_did_not_start_count_through_the_proxies():
    """Who else goes to a part directly is not known, and is neither too many nor hides those that are."""
    for sockets, asked, classes in (
        (lambda t: np.full(len(t), 3), {"connections": 3}, ()),
        (lambda t: np.full(len(t), 4), {"connections": 3}, ("EXHAUSTED",)),
        (lambda t: 3 + t // 4, {"leak": "none"}, ("LEAK",)),
    ):
        written = observed(sockets=sockets, **asked)
        written.columns["exposure"]["direct"] = columns.NOT_KNOWN
        assert verdict_of(written, "resources").reasons == classes


def test_a_sick_stack_takes_these_claims_back():
    verdict = judged(leak="none", files=lambda t: 30 + t)
    assert void(verdict, ("stack_unhealthy:kafka",)).grade is Grade.INCONCLUSIVE


def test_a_trend_is_found_through_noise_and_outliers_and_no_jump_between_stretches_is_one():
    rng = np.random.default_rng(2)
    t_ns = np.arange(0, 60) * SECOND
    noise = rng.normal(0, 5, 60)
    noise[::9] += 400
    found = trend([(t_ns, 2.0 * np.arange(60) + noise)])
    assert found.low < 2.0 < found.high
    assert found.low > 1.5
    flat = trend([(t_ns, noise), (t_ns + 100 * SECOND, noise + 1000)])
    assert flat.low < 0 < flat.high
    assert flat.slope == pytest.approx(0, abs=0.2)
    assert trend([]) is None
    assert trend([(t_ns[:1], noise[:1])]) is None
