"""When a fault counts: each source of evidence, with what shows the fault and what just does not."""

from __future__ import annotations

import histories
import numpy as np
import pytest
from histories import STARTED_NS, injection

from chaosd.journal.columns import CANARIES, EXPOSURE, GAUGES, RESOURCES, Path, Probe, ProbeOutcome, State
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.verification.exposure import gather, judge_fault

IN_FORCE_S, AFTER_S = 22.0, 28.0


def judged(bite=(), healed=(), *, canaries=(), resources=(), gauges=(), exposure=None, others=(), **changes):
    one = injection(bite=bite, healed=healed, **changes)
    written = histories.history(plan=histories.segments(rate_hz=20), injections=(one, *others))
    written.columns["canaries"] = rows(CANARIES.dtype, canaries)
    written.columns["resources"] = rows(RESOURCES.dtype, resources)
    written.columns["gauges"] = rows(GAUGES.dtype, gauges)
    written.facts(gauges=("kafka.clients", "redis.clients"))
    if exposure is not None:
        written.columns["exposure"] = rows(EXPOSURE.dtype, exposure)
    return judge_fault(written.run, gather(written), one)


def rows(dtype, values):
    made = np.zeros(len(values), dtype)
    for number, value in enumerate(values):
        for name, field in value.items():
            made[name][number] = field
    return made


def probe(at_s, took_ms, outcome=ProbeOutcome.OK, **more):
    sent = STARTED_NS + round(at_s * SECOND)
    plain = {"path": Path.PROXIED, "probe": Probe.PING, "sent_ns": sent, "done_ns": sent + round(took_ms * MS)}
    return {**plain, "outcome": outcome, **more}


def bulk(at_s, kb_s, which=Probe.BULK_DOWN):
    return probe(at_s, 200, probe=which, bytes=round(kb_s * 200))


def sample(at_s, process="redis", pid=10, state=State.RUNNING, started=1):
    number = histories.PROCESSES.index(process)
    return {
        "t_ns": STARTED_NS + round(at_s * SECOND),
        "process": number,
        "pid": pid,
        "started": started,
        "state": state,
    }


BASELINE = [probe(10 + n / 10, 1 + n % 3) for n in range(30)]


@pytest.mark.parametrize(("took_ms", "proved"), [(322, True), (321.5, False)])
def test_a_delay_must_show_four_fifths_of_itself(took_ms, proved):
    slow = [probe(IN_FORCE_S + n / 10, took_ms) for n in range(9)]
    proof = Proof(Source.ROUND_TRIP_MS, "redis", Relation.RISES_BY, 400.0)
    assert (judged((proof,), canaries=[*BASELINE, *slow]).bite == "proved") is proved


def test_a_delay_within_the_noise_of_the_baseline_is_no_proof():
    slow = [probe(IN_FORCE_S + n / 10, 2.9) for n in range(9)]
    proof = Proof(Source.ROUND_TRIP_MS, "redis", Relation.RISES_BY, 1.0)
    assert judged((proof,), canaries=[*BASELINE, *slow]).bite == "missing"


def test_a_delay_on_another_part_or_on_the_direct_path_is_no_proof():
    proof = Proof(Source.ROUND_TRIP_MS, "redis", Relation.RISES_BY, 400.0)
    for other in ({"on": 1}, {"path": Path.DIRECT}):
        slow = [probe(IN_FORCE_S + n / 10, 500, **other) for n in range(9)]
        assert judged((proof,), canaries=[*BASELINE, *slow]).bite == "missing"


@pytest.mark.parametrize(("took_ms", "proved"), [(11.9, True), (12.5, False)])
def test_back_to_baseline_is_within_its_noise(took_ms, proved):
    after = [probe(AFTER_S + n / 10, took_ms) for n in range(9)]
    proof = Proof(Source.ROUND_TRIP_MS, "redis", Relation.BACK_TO_BASELINE)
    assert (judged((), (proof,), canaries=[*BASELINE, *after]).healed == "proved") is proved


@pytest.mark.parametrize(("kb_s", "proved"), [(50, True), (64, True), (66, False), (36, True), (34, False)])
def test_a_bandwidth_must_be_within_thirty_percent(kb_s, proved):
    proof = Proof(Source.RATE_KB_S, "redis", Relation.NEAR, 50.0, stream="downstream")
    assert (judged((proof,), canaries=[bulk(IN_FORCE_S, kb_s)]).bite == "proved") is proved


def test_a_bandwidth_both_ways_needs_both():
    proof = Proof(Source.RATE_KB_S, "redis", Relation.NEAR, 50.0, stream="both")
    one = [bulk(IN_FORCE_S, 50)]
    assert judged((proof,), canaries=one).bite == "missing"
    assert judged((proof,), canaries=[*one, bulk(IN_FORCE_S, 50, Probe.BULK_UP)]).bite == "proved"


@pytest.mark.parametrize(
    ("relation", "base_kb_s", "kb_s", "proved"),
    [
        (Relation.AT_MOST, 900, 65, True),
        (Relation.AT_MOST, 900, 66, False),
        (Relation.AT_MOST, 900, 5, True),
        (Relation.AT_MOST, 90, 50, False),  # it was hardly quicker before
        (Relation.ABOVE, 900, 100, True),
        (Relation.ABOVE, 900, 99, False),
    ],
)
def test_a_cap_that_is_only_a_bound_is_held_against_the_time_before(relation, base_kb_s, kb_s, proved):
    proof = Proof(Source.RATE_KB_S, "redis", relation, 50.0, stream="downstream")
    moved = [bulk(12, base_kb_s), bulk(IN_FORCE_S, kb_s)]
    assert (judged((proof,), canaries=moved).bite == "proved") is proved


def test_a_bound_without_a_transfer_before_it_shows_nothing():
    proof = Proof(Source.RATE_KB_S, "redis", Relation.AT_MOST, 50.0, stream="downstream")
    assert judged((proof,), canaries=[bulk(IN_FORCE_S, 5)]).bite == "missing"


@pytest.mark.parametrize(("first_ms", "last_ms", "proved"), [(20, 220, True), (20, 219, False), (220, 20, False)])
def test_a_ramp_must_move_its_way(first_ms, last_ms, proved):
    """In force from 20 s to 25 s: thirds of 1.67 s."""
    proof = Proof(Source.ROUND_TRIP_MS, "redis", Relation.MOVES_BY, 400.0)
    early = [probe(20.1 + n / 10, first_ms) for n in range(9)]
    late = [probe(24 + n / 10, last_ms) for n in range(9)]
    assert (judged((proof,), canaries=[*BASELINE, *early, *late]).bite == "proved") is proved
    assert judged((proof,), canaries=[*BASELINE, *early]).bite == "missing"


def test_a_ramp_may_lead_down():
    proof = Proof(Source.ROUND_TRIP_MS, "redis", Relation.MOVES_BY, -400.0)
    early = [probe(20.1 + n / 10, 500) for n in range(9)]
    late = [probe(24 + n / 10, 20) for n in range(9)]
    assert judged((proof,), canaries=[*BASELINE, *early, *late]).bite == "proved"


def test_a_late_end_is_shown_by_closing_and_not_by_pings():
    proof = Proof(Source.CLOSE_MS, "redis", Relation.RISES_BY, 400.0)
    before = [probe(10 + n, 1, probe=Probe.CLOSE) for n in range(2)]
    late = [probe(IN_FORCE_S, 401, probe=Probe.CLOSE)]
    assert judged((proof,), canaries=[*before, *late]).bite == "proved"
    pings = [*BASELINE, probe(IN_FORCE_S, 401)]
    assert judged((proof,), canaries=[*before, *pings]).bite == "missing"


@pytest.mark.parametrize(("took_ms", "healed"), [(100, "proved"), (102, "missing")])
def test_what_a_fault_added_is_gone_when_a_quarter_of_it_is_not_seen_any_more(took_ms, healed):
    proof = Proof(Source.CLOSE_MS, "redis", Relation.BACK_TO_BASELINE, 400.0)
    before = [probe(10 + n, 1, probe=Probe.CLOSE) for n in range(2)]
    after = [probe(AFTER_S, took_ms, probe=Probe.CLOSE)]
    assert judged((), (proof,), canaries=[*before, *after]).healed == healed


def test_a_limit_is_shown_by_the_end_of_a_transfer_in_its_direction():
    proof = Proof(Source.BULK_OUTCOME, "redis", Relation.ONE_OF, 6000.0, ("eof", "reset"), "downstream")
    cut = probe(IN_FORCE_S, 3, ProbeOutcome.EOF, probe=Probe.BULK_DOWN)
    assert judged((proof,), canaries=[cut]).bite == "proved"
    assert judged((proof,), canaries=[{**cut, "probe": Probe.BULK_UP}]).bite == "missing"
    assert judged((proof,), canaries=[{**cut, "probe": Probe.PING}]).bite == "missing"


def test_a_limit_is_gone_once_a_transfer_goes_through():
    proof = Proof(Source.BULK_OUTCOME, "redis", Relation.NONE_OF, 6000.0, ("eof", "reset"), "downstream")
    whole = probe(25.2, 3, probe=Probe.BULK_DOWN)
    cut = probe(25.5, 3, ProbeOutcome.EOF, probe=Probe.BULK_DOWN)
    assert judged((), (proof,), canaries=[whole]).healed == "proved"
    assert judged((), (proof,), canaries=[whole, cut]).healed == "missing"
    assert judged((), (proof,), canaries=[]).healed == "missing"


def test_the_right_class_of_error_inside_the_window_shows_a_refused_connection():
    proof = Proof(Source.OUTCOME, "redis", Relation.ONE_OF, words=("refused",))
    for at_s, outcome, bite in (
        (IN_FORCE_S, ProbeOutcome.REFUSED, "proved"),
        (IN_FORCE_S, ProbeOutcome.TIMEOUT, "missing"),
        (AFTER_S, ProbeOutcome.REFUSED, "missing"),
    ):
        assert judged((proof,), canaries=[probe(at_s, 1, outcome, probe=Probe.CONNECT)]).bite == bite


def test_healed_means_none_of_the_errors_and_at_least_one_sample():
    proof = Proof(Source.OUTCOME, "redis", Relation.NONE_OF, words=("refused",))
    assert judged((), (proof,), canaries=[]).healed == "missing"
    assert judged((), (proof,), canaries=[probe(AFTER_S, 1)]).healed == "proved"
    # A connection that died with the fault is noticed by its next use, within the first second.
    soon = probe(25.5, 1, ProbeOutcome.REFUSED)
    assert judged((), (proof,), canaries=[soon, probe(AFTER_S, 1)]).healed == "proved"
    late = probe(AFTER_S + 1, 1, ProbeOutcome.REFUSED)
    assert judged((), (proof,), canaries=[late, probe(AFTER_S, 1)]).healed == "missing"


def test_healed_is_not_that_another_error_came_instead():
    proof = Proof(Source.OUTCOME, "redis", Relation.NONE_OF, words=("refused",))
    late = [probe(AFTER_S + n, 1000, ProbeOutcome.TIMEOUT) for n in range(5)]
    assert judged((), (proof,), canaries=late).healed == "missing"


def test_a_way_on_which_most_probes_run_into_their_time_out_is_not_back_to_its_baseline():
    proof = Proof(Source.ROUND_TRIP_MS, "redis", Relation.BACK_TO_BASELINE)
    for timeouts, healed in ((3, "proved"), (30, "missing")):
        after = [probe(AFTER_S + n / 10, 2) for n in range(9)]
        after += [probe(AFTER_S + n / 10, 1000, ProbeOutcome.TIMEOUT) for n in range(timeouts)]
        assert judged((), (proof,), canaries=[*BASELINE, *after]).healed == healed


def fault(on, call_s, clear_s, id="other"):
    """Another injection."""
    clear_ns = STARTED_NS + round(clear_s * SECOND)
    return injection(id, on=on, call_ns=STARTED_NS + call_s * SECOND, clear_low_ns=clear_ns, clear_high_ns=clear_ns)


@pytest.mark.parametrize(
    ("on", "other", "healed"),
    [
        ("toxiproxy", "redis", "proved"),
        ("redis", "toxiproxy", "proved"),
        ("redis", "redis", "proved"),
        ("redis", "kafka", "missing"),
        ("redis", "target", "missing"),
    ],
)
def test_what_a_later_fault_on_the_same_way_does_is_not_held_against_a_heal(on, other, healed):
    proof = Proof(Source.OUTCOME, "redis", Relation.NONE_OF, words=("refused",))
    seen = [probe(AFTER_S, 1), probe(31, 1, ProbeOutcome.REFUSED)]
    assert judged((), (proof,), canaries=seen, others=(fault(other, 30, 33),), on=on).healed == healed


@pytest.mark.parametrize(
    ("seen", "healed"),
    [
        ([(0.1, ProbeOutcome.REFUSED), (0.3, ProbeOutcome.OK)], "proved"),
        ([(0.1, ProbeOutcome.OK), (0.3, ProbeOutcome.REFUSED)], "missing"),
        ([(0.1, ProbeOutcome.OK), (0.3, ProbeOutcome.TIMEOUT)], "missing"),
        ([], "missing"),
    ],
)
def test_where_the_next_fault_comes_soon_the_last_probe_before_it_shows_the_heal(seen, healed):
    proof = Proof(Source.OUTCOME, "redis", Relation.NONE_OF, words=("refused",))
    gone_s = (injection().clear_high_ns - STARTED_NS) / SECOND
    canaries = [probe(gone_s + after_s, 1, outcome) for after_s, outcome in seen]
    soon = fault("redis", gone_s + 0.5, gone_s + 1)
    assert judged((), (proof,), canaries=canaries, others=(soon,)).healed == healed


def test_a_heal_under_another_fault_is_seen_when_that_is_gone():
    proof = Proof(Source.OUTCOME, "redis", Relation.NONE_OF, words=("refused",))
    during = probe(27, 1, ProbeOutcome.REFUSED)
    other = fault("toxiproxy", 22, 29)
    assert judged((), (proof,), canaries=[during, probe(31, 1)], others=(other,)).healed == "proved"
    assert judged((), (proof,), canaries=[during], others=(other,)).healed == "missing"
    endless = injection("other", on="toxiproxy", clear_low_ns=-1, clear_high_ns=-1)
    assert judged((), (proof,), canaries=[during, probe(31, 1)], others=(endless,)).healed == "missing"


def test_the_end_of_a_process_by_a_later_fault_shows_nothing_of_this_one():
    proof = Proof(Source.PROCESS_START, "redis", Relation.CHANGED)
    seen = [sample(19), sample(22), sample(32, pid=11)]
    assert judged((proof,), resources=seen).bite == "proved"
    assert judged((proof,), resources=seen, others=(fault("redis", 31, 33),)).bite == "missing"


def test_another_process_than_before_shows_a_restart():
    proof = Proof(Source.PROCESS_START, "redis", Relation.CHANGED)
    before = sample(19)
    assert judged((proof,), resources=[before, sample(22)]).bite == "missing"
    assert judged((proof,), resources=[before, sample(22, pid=11)]).bite == "proved"
    assert judged((proof,), resources=[before, sample(22, started=2)]).bite == "proved"
    assert judged((proof,), resources=[before, sample(22, pid=0, state=State.GONE)]).bite == "proved"
    assert judged((proof,), resources=[sample(22, pid=11)]).bite == "missing"
    assert judged((proof,), resources=[before, sample(22, "kafka", pid=11)]).bite == "missing"


def test_a_stopped_process_shows_a_pause():
    proof = Proof(Source.PROCESS_STATE, "target", Relation.ONE_OF, words=("stopped",))
    gone = Proof(Source.PROCESS_STATE, "target", Relation.NONE_OF, words=("stopped", "gone"))
    paused = sample(22, "target", state=State.STOPPED)
    one = judged((proof,), (gone,), resources=[paused, sample(28, "target")], on="target")
    assert (one.bite, one.healed, one.exposed) == ("proved", "proved", "proved")
    one = judged((proof,), (gone,), resources=[sample(22, "target"), {**paused, "t_ns": STARTED_NS + 28 * SECOND}])
    assert (one.bite, one.healed) == ("missing", "missing")


def test_every_proof_of_a_fault_must_stand_and_none_is_no_proof():
    refused = Proof(Source.OUTCOME, "redis", Relation.ONE_OF, words=("refused",))
    reset = Proof(Source.OUTCOME, "redis", Relation.ONE_OF, words=("reset",))
    seen = [probe(IN_FORCE_S, 1, ProbeOutcome.REFUSED)]
    assert judged((refused,), canaries=seen).bite == "proved"
    assert judged((refused, reset), canaries=seen).bite == "missing"
    assert judged((), canaries=seen).bite == "missing"


@pytest.mark.parametrize(
    ("times", "exposed"),
    [((10, 22), "proved"), ((10, 19.5), "proved"), ((10,), "missing"), ((22,), "missing"), ((10, 30), "missing")],
)
def test_exposed_is_used_before_and_connected_around_the_fault(times, exposed):
    sockets = [{"t_ns": STARTED_NS + round(at_s * SECOND), "proxied": 2} for at_s in times]
    assert judged(exposure=sockets).exposed == exposed


def test_a_fault_on_the_proxy_exposes_whatever_goes_through_it():
    sockets = [{"t_ns": STARTED_NS + at_s * SECOND, "proxied": 2, "on": 2} for at_s in (10, 22)]
    assert judged(exposure=sockets, on="toxiproxy").exposed == "proved"
    assert judged(exposure=sockets, on="redis").exposed == "unknown"


def told(values, gauge=1):
    """Readings of a gauge: (at_s, value). The injection is at 20 s, the heal at 25 s."""
    return [{"t_ns": STARTED_NS + round(at_s * SECOND), "gauge": gauge, "value": value} for at_s, value in values]


def proof_of(relation, amount=0.0, gauge="clients"):
    return Proof(Source.GAUGE, "redis", relation, amount, gauge=gauge)


STEADY = [(at_s, 7) for at_s in range(5, 20)]
CLIMBS = [(at_s, at_s) for at_s in range(5, 20)]
WAVERS = [(at_s, at_s % 2 * 9) for at_s in range(5, 20)]


@pytest.mark.parametrize(
    ("relation", "amount", "readings", "bite"),
    [
        (Relation.RISES_BY, 5, [*STEADY, (21, 12)], "proved"),
        (Relation.RISES_BY, 5, [*STEADY, (21, 11)], "missing"),
        (Relation.RISES_BY, 5, [*STEADY, (26, 12)], "missing"),
        (Relation.RISES_BY, 5, [(21, 12), (22, 99)], "missing"),
        # It rises by one a second anyhow: five more within the five seconds are nothing special.
        (Relation.RISES_BY, 5, [*CLIMBS, (22, 22), (24.9, 24)], "missing"),
        (Relation.RISES_BY, 5, [*CLIMBS, (22, 22), (24.9, 30)], "proved"),
        (Relation.FALLS_BY, 5, [*STEADY, (21, 2)], "proved"),
        (Relation.FALLS_BY, 5, [*STEADY, (21, 3)], "missing"),
        (Relation.FALLS_BY, 5, [*CLIMBS, (22, 13)], "proved"),
        (Relation.AT_LEAST, 8, [*STEADY, (21, 7), (22, 8)], "proved"),
        (Relation.AT_LEAST, 8, [*STEADY, (21, 7), (25.5, 8)], "missing"),
        # It was so before: that is not what the fault did.
        (Relation.AT_LEAST, 7, [*STEADY, (21, 7)], "missing"),
        (Relation.AT_LEAST, 8, [*WAVERS[:-3], (19, 0), (21, 9)], "proved"),
        (Relation.AT_LEAST, 8, [*WAVERS[:-3], (18.5, 9), (19, 0), (21, 9)], "missing"),
        (Relation.AT_MOST, 0, [*STEADY, (21, 0)], "proved"),
        (Relation.AT_MOST, 0, [*STEADY, (21, 1)], "missing"),
        (Relation.AT_MOST, 7, [*STEADY, (21, 0)], "missing"),
        (Relation.CHANGED, 0, [*STEADY, (21, 8)], "proved"),
        (Relation.CHANGED, 0, [*STEADY, (21, 7), (26, 8)], "missing"),
        (Relation.CHANGED, 0, [*CLIMBS, (21, 99)], "missing"),
        (Relation.CHANGED, 0, [(21, 8)], "missing"),
    ],
)
def test_what_a_server_tells_shows_a_fault_that_it_did_not_tell_before(relation, amount, readings, bite):
    one = judged((proof_of(relation, amount),), gauges=told(readings))
    assert one.bite == bite, one.evidence
    assert one.evidence["bite.gauge.clients"]["asked"].startswith(relation.replace("_", " "))


@pytest.mark.parametrize(
    ("relation", "amount", "readings", "healed"),
    [
        (Relation.BACK_TO_BASELINE, 0, [*STEADY, (22, 99), (27, 7)], "proved"),
        (Relation.BACK_TO_BASELINE, 0, [*STEADY, (22, 99), (25.5, 99), (27, 7)], "proved"),
        (Relation.BACK_TO_BASELINE, 0, [*STEADY, (27, 7), (28, 8)], "missing"),
        (Relation.BACK_TO_BASELINE, 0, [*STEADY, (22, 7)], "missing"),
        (Relation.BACK_TO_BASELINE, 0, [*WAVERS, (27, 4)], "proved"),
        (Relation.AT_MOST, 0, [*STEADY, (22, 99), (27, 0), (28, 0)], "proved"),
        (Relation.AT_MOST, 0, [*STEADY, (27, 0), (28, 1)], "missing"),
        (Relation.AT_MOST, 7, [*STEADY, (27, 7)], "proved"),
        (Relation.AT_LEAST, 7, [*STEADY, (27, 7)], "proved"),
        (Relation.AT_LEAST, 7, [*STEADY, (27, 7), (28, 6)], "missing"),
        (Relation.AT_LEAST, 0, [*STEADY, (25.5, 7)], "missing"),
    ],
)
def test_what_a_server_tells_shows_a_heal_when_all_of_it_has_settled(relation, amount, readings, healed):
    one = judged((), (proof_of(relation, amount),), gauges=told(readings))
    assert one.healed == healed, one.evidence


def test_a_gauge_that_nobody_read_proves_nothing():
    readings = told([*STEADY, (21, 12)])
    assert judged((proof_of(Relation.RISES_BY, 5),), gauges=readings).bite == "proved"
    assert judged((proof_of(Relation.RISES_BY, 5, gauge="memory"),), gauges=readings).bite == "missing"
    other = told([*STEADY, (21, 12)], gauge=0)
    assert judged((proof_of(Relation.RISES_BY, 5),), gauges=other).bite == "missing"


def test_evidence_says_what_was_asked_and_what_was_measured():
    one = judged((proof_of(Relation.RISES_BY, 5),), gauges=told([*STEADY, (21, 9), (22, 12), (23, 11)]))
    assert one.evidence["bite.gauge.clients"] == {
        "asked": "rises by 5", "before": 7, "lowest": 9, "highest": 12, "last": 11, "samples": 3,
    }  # fmt: skip


def test_proofs_on_several_parts_are_told_apart():
    proofs = tuple(Proof(Source.OUTCOME, part, Relation.NONE_OF, words=("refused",)) for part in ("redis", "kafka"))
    one = judged((), proofs, canaries=[probe(AFTER_S, 1)], on="toxiproxy")
    assert {"healed.canary.outcome.redis", "healed.canary.outcome.kafka"} <= set(one.evidence)
