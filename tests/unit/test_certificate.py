"""The mutation certificate: plants are disjoint, fair, repeatable, and a verifier that misses one is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import VERIFIERS, injection

from chaosd.kernel.clock import MS, SECOND
from chaosd.verification.case import open_case
from chaosd.verification.certificate import certify
from chaosd.verification.cores import crew, fold
from chaosd.verification.hold import hold
from chaosd.verification.plant import CLASSES, Planter

# What is planted in an ordinary run; tests/unit/test_replays.py is about the other one.
PLANTED = [one.name for one in VERIFIERS if set(one.anomalies) & (set(CLASSES) - {"BAD-REPLAY"})]


def faulted(**changes):
    return histories.history(plan=histories.segments(rate_hz=50), injections=(injection(),), **changes)


def planted(written, seed=1):
    planter = Planter(open_case(written), np.random.default_rng(seed))
    copies = planter.plant(tuple(written.partitions()))
    return planter.plantings, copies


def test_every_class_is_planted_up_to_twenty_times_and_noticed():
    certificate = certify(open_case(faulted()), faulted(), VERIFIERS)
    # No fault of this run takes obligations away, and no dead letter was sent back.
    assert set(certificate.by_class) == set(CLASSES) - {"VOIDED", "BAD-REPLAY"}
    assert certificate.by_class["STUCK"] == certificate.by_class["UNSEEN"] == (20, 20)
    assert all(noticed == count for count, noticed in certificate.by_class.values())
    assert certificate.by_class["LOST"] == (20, 20)
    assert certificate.by_class["SLOW-RECOVERY"] == (1, 1)
    assert certificate.unnoticed == ()
    assert certificate.not_applicable == ("VOIDED", "BAD-REPLAY")


def test_where_a_fault_takes_obligations_away_that_is_planted_too():
    written = histories.history(plan=histories.segments(rate_hz=50), injections=(injection(voids=("results",)),))
    certificate = certify(open_case(written), written, VERIFIERS)
    assert certificate.by_class["VOIDED"] == (20, 20)
    assert (certificate.unnoticed, certificate.not_applicable) == ((), ("BAD-REPLAY",))


def test_a_standstill_has_a_place_only_beside_another_partition_and_in_calm_time_enough():
    def has_a_place(written):
        certificate = certify(open_case(written), written, VERIFIERS)
        assert certificate.unnoticed == ()
        assert ("STUCK" in certificate.by_class) is ("UNSEEN" in certificate.by_class)
        return "STUCK" in certificate.by_class

    assert has_a_place(faulted())
    alone = faulted()
    drain = {0: alone.run.drain[0]}
    assert not has_a_place(alone.facts(drain=drain))
    late = {"warmup": 5.0, "baseline": 15.0, "faults": 5.0, "tail": 4.0}
    plan = histories.segments(rate_hz=50, phases=late)
    assert not has_a_place(histories.history(plan=plan, injections=(injection(),)))
    stalled = faulted()
    end_ns = int(stalled.columns["progress"]["t_ns"].max())
    stalled.stall(end_ns - 9 * SECOND, end_ns - 6 * SECOND)
    assert not has_a_place(stalled)


def test_a_standstill_ends_where_a_tap_that_is_held_up_at_the_end_looked_last():
    """As it is by the fresh read, which is a second of work."""
    written = faulted()
    end_ns = int(written.columns["progress"]["t_ns"].max())
    written.stall(end_ns - 1100 * MS, end_ns)
    certificate = certify(open_case(written), written, VERIFIERS)
    assert certificate.by_class["STUCK"] == (20, 20)


def test_no_order_is_planted_on_what_is_in_the_input_twice():
    """It has two places there, so the verifier of the order leaves it alone."""
    written = faulted()
    written.rows["n_input"][::2] = 2
    certificate = certify(open_case(written), written, VERIFIERS)
    assert certificate.unnoticed == ()
    assert "REORDERED" not in certificate.by_class  # of two that follow one another, one always is


def test_a_verifier_that_sees_no_standstill_is_named():
    def blind(case, partial):
        verdict = next(v for v in VERIFIERS if v.name == "no_loss").conclude(case, partial)
        return replace(verdict, witnesses=tuple(w for w in verdict.witnesses if w.anomaly != "STUCK"))

    broken = tuple(replace(v, conclude=blind) if v.name == "no_loss" else v for v in VERIFIERS)
    certificate = certify(open_case(faulted()), faulted(), broken)
    assert certificate.by_class["STUCK"] == (20, 0)
    assert certificate.unnoticed == ("no_loss",)


@pytest.mark.parametrize(("hold_ms", "has_a_place"), [(1250, True), (1249, False)])
def test_a_slow_recovery_has_a_place_only_where_calm_cannot_come_before_it_is_slow(hold_ms, has_a_place):
    """A late result is late after θ, at most a quarter of the limit: a hold shorter than that may be over by then."""
    written = faulted().facts(hold_ns=hold_ms * MS)
    certificate = certify(open_case(written), written, VERIFIERS)
    assert ("SLOW-RECOVERY" in certificate.by_class) is has_a_place
    assert certificate.unnoticed == ()


def test_plants_are_disjoint_and_leave_the_baseline_alone():
    written = faulted()
    plantings, _ = planted(written)
    identities = Counter((p.stream, p.seq) for p in plantings if p.stream >= 0)
    assert max(identities.values()) == 1
    rows = {(int(row["stream"]), int(row["seq"])): int(row["segment"]) for row in written.rows}
    assert all(rows[identity] != 1 for identity in identities)


def test_the_baseline_of_the_copy_is_that_of_the_original():
    written = faulted()
    _, (copy,) = planted(written)
    base = written.rows["segment"] == 1
    assert (copy.envelopes[base] == written.rows[base]).all()


def test_the_original_is_not_changed():
    written, untouched = faulted(), faulted()
    planted(written)
    assert (written.rows == untouched.rows).all()
    assert (written.sightings == untouched.sightings).all()


def in_order(copy):
    keys = [copy.sightings[name] for name in ("final", "offset", "partition", "topic")]
    return (np.lexsort(keys) == np.arange(len(copy.sightings))).all()


def test_the_copy_is_sorted_as_every_share_is():
    _, (copy,) = planted(faulted())
    assert in_order(copy)


def drafts(written):
    """(shares, planter, copies as they come), a standstill among what is planted."""
    rng = np.random.default_rng(1)
    case, held = hold(open_case(written), rng)
    planter, shares = Planter(case, rng, held), tuple(written.partitions())
    return shares, planter, planter.copies(shares)


def test_copies_of_all_shares_are_sorted_and_lose_results_alone():
    written = shared()
    shares, planter, copies = drafts(written)
    lost = added = 0
    for number, copy in copies:
        assert in_order(copy)
        topics = [np.bincount(one.sightings["topic"], minlength=3) for one in (shares[number], copy)]
        assert topics[0][0] == topics[1][0]  # the input is as it was
        lost += (topics[0] > topics[1]).any()
        added += (topics[0] < topics[1]).any()
    assert lost >= 4, "the shares that stand still, and more"
    assert added
    assert {one.anomaly for one in planter.plantings} > {"LOST", "STUCK", "PHANTOM", "REORDERED", "DOUBLE-OUTCOME"}


def test_a_copy_is_whole_when_it_is_given():
    """It is folded while the next one is made."""
    _, _, copies = drafts(shared())
    given = [(copy, copy.envelopes.rows().copy(), copy.sightings.rows().copy()) for _, copy in copies]
    assert len(given) > 4
    for copy, envelopes, sightings in given:
        assert (copy.envelopes.rows() == envelopes).all()
        assert (copy.sightings.rows() == sightings).all()


def test_the_seed_alone_decides_where_the_plants_are():
    assert planted(faulted(), 1)[0] == planted(faulted(), 1)[0]
    assert planted(faulted(), 1)[0] != planted(faulted(), 2)[0]


def test_plants_are_spread_over_shares_within_their_number():
    written = faulted()
    written.cut_at_streams = (2,)
    plantings, _ = planted(written)
    assert max(Counter(p.anomaly for p in plantings).values()) == 20
    certificate = certify(open_case(written), written, VERIFIERS)
    assert certificate.unnoticed == ()


def shared():
    """A share for each of eight streams, every second one of them in the one partition."""
    written = histories.history(plan=histories.segments(rate_hz=100, streams=8), injections=(injection(),))
    written.cut_at_streams = tuple(range(1, 8))
    return written


def by_hand(case, history, verifiers):
    with crew(0) as pool:
        return fold(pool, case, tuple(history.partitions()), verifiers)


def test_a_share_in_which_nothing_was_planted_is_not_folded_again():
    history = shared()
    case = open_case(history)
    known = by_hand(case, history, VERIFIERS)
    again = Counter()

    def counted(verifier):
        def folded(case, share):
            again[verifier.name] += 1
            return verifier.fold(case, share)

        return replace(verifier, fold=folded)

    certificate = certify(case, history, tuple(counted(one) for one in VERIFIERS), known)
    assert certificate == certify(case, history, VERIFIERS)
    assert certificate.noticed == certificate.planted
    assert certificate.by_class["LOST"] == certificate.by_class["STUCK"] == (20, 20)
    assert set(again.values()) < set(range(1, 8)), again


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("name", ["no_loss", "integrity", "order", "no_duplicates", "system_errors"])
def test_a_verifier_that_joins_shares_by_halves_is_named(name, kept):
    """It would see everything in a history of one share."""
    history = shared()
    case = open_case(history)
    broken = tuple(replace(v, merge=lambda *two: two[kept]) if v.name == name else v for v in VERIFIERS)
    assert certify(case, history, broken, by_hand(case, history, broken)).unnoticed == (name,)


@pytest.mark.parametrize("name", PLANTED)
def test_a_verifier_that_sees_nothing_in_a_share_is_named_whatever_it_knew_before(name):
    history = shared()
    case = open_case(history)
    clean = by_hand(case, history, VERIFIERS)
    number = [one.name for one in VERIFIERS].index(name)

    def blind(case, share):
        """What it folded of some share before anything was planted."""
        return clean[number][0].result()

    broken = tuple(replace(v, fold=blind) if v.name == name else v for v in VERIFIERS)
    assert certify(case, history, broken, clean).unnoticed == (name,)


def test_what_has_no_place_in_a_history_is_not_applicable():
    written = histories.history(plan=histories.segments(rate_hz=50), poison_every=0)
    written.facts(topics=written.run.topics[:2])
    certificate = certify(open_case(written), written, VERIFIERS)
    missing = {"SLOW-RECOVERY", "MISSING-ERROR", "WRONG-ERROR", "UNEXPECTED-ERROR", "DOUBLE-OUTCOME", "VOIDED"}
    assert set(certificate.not_applicable) == {*missing, "BAD-REPLAY"}
    assert certificate.unnoticed == ()


@pytest.mark.parametrize(
    "expect",
    [
        {"duplicates": "none"},
        {"duplicates": "allowed"},
        {"order": "any"},
        {"order": "per_key_outside_faults"},
        {"system_errors": "allowed_during_faults"},
        {"loss": "not_judged"},
    ],
)
def test_plants_are_noticed_under_every_policy(expect):
    written = faulted().expect(**expect)
    assert certify(open_case(written), written, VERIFIERS).unnoticed == ()


@pytest.mark.parametrize("name", PLANTED)
def test_a_verifier_that_cannot_bear_anomalies_notices_none(name):
    def explode(case, partial):
        raise ZeroDivisionError("on purpose")

    broken = tuple(replace(v, conclude=explode) if v.name == name else v for v in VERIFIERS)
    certificate = certify(open_case(faulted()), faulted(), broken)
    assert certificate.unnoticed == (name,)
    assert certificate.noticed < certificate.planted
