"""The verifiers against a second judge that knows nothing of them (naive.py), over histories made up by hypothesis."""

from __future__ import annotations

import numpy as np
from histories import VERIFIERS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from naive import RECORDS, Naive
from stories import STORIES, tell

from chaosd.journal import join
from chaosd.journal.model import Partition
from chaosd.kernel.verdict import Grade
from chaosd.verification.case import open_case
from chaosd.verification.compose import judge, run_verifier
from chaosd.verification.found import place

LOOKING = tuple(verifier for verifier in VERIFIERS if verifier.name not in ("recovery", "resources"))
HARMLESS = {"RECOVERED", "VOIDED", "FOREIGN", "UNSEEN"}
ABSENCE = {"LOST", "MISSING-ERROR", "STUCK", "VANISHED"}
VOIDED = {
    "torn": ABSENCE,
    "unsealed": ABSENCE,
    "aborted": ABSENCE,
    "tap": ABSENCE | {"UNEXPECTED-ERROR"},
    "poisoned": ABSENCE | {"UNEXPECTED-ERROR"},
}


def found(history):
    """{class: {who: allowed}} by the verifiers."""
    case, told = open_case(history).unlimited(), {}
    names = {place(case, *where): where for where in _places(history)}
    for verifier in LOOKING:
        verdict = run_verifier(case, history, verifier)
        for anomaly in verifier.anomalies:
            mine = [witness for witness in verdict.witnesses if witness.anomaly == anomaly]
            assert verdict.counts[anomaly] == len(mine)
            for one in mine:
                where = names.get(one.detail.removesuffix(" (allowed)"))
                who = where if anomaly in RECORDS else (one.stream, one.seq)
                told.setdefault(anomaly, {})[who] = one.detail.endswith("(allowed)")
    return told


def _places(history):
    rows = history.column("sightings")
    return {tuple(int(value) for value in row) for row in rows[["topic", "partition", "offset"]].tolist()}


def naively(told, story):
    """{class: {who: allowed}} by the other judge."""
    return Naive(told.history.run, told.rows, story["watermark"], ended=story["ended"]).judge()


STORY = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    # Nobody waits for a smaller story: the fates of eighteen envelopes take minutes to shrink.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@STORY
@given(STORIES)
def test_both_judges_name_the_same_envelopes_and_records_in_every_class(story):
    told = tell(story)
    naive, ours = naively(told, story), found(told.history)
    for anomaly in sorted({*naive, *ours}):
        # These are never a failure, whatever the flag says.
        same = set if anomaly in HARMLESS else dict
        assert same(ours.get(anomaly, {})) == same(naive.get(anomaly, {})), anomaly


@STORY
@given(STORIES)
def test_both_judges_fail_a_run_for_the_same_classes(story):
    """After what the run's circumstances void."""
    told = tell(story)
    naive = naively(told, story)
    bad = {name for name, who in naive.items() if name not in HARMLESS and not all(who.values())}
    circumstance = story["circumstance"]
    if circumstance == "altered" or (story["deleted"] and not story["deleted"][3]):
        bad = set()
    sick = ABSENCE | {"UNEXPECTED-ERROR"} if story["sick"] else set()
    bad -= VOIDED.get(circumstance, set()) | sick
    judgement = judge(told.history, LOOKING)
    assert set(judgement.classes) == bad
    assert (judgement.grade is Grade.FAIL) == bool(bad)
    if judgement.grade is Grade.PASS:
        assert not naive["UNSEEN"]
        assert circumstance is None
        assert told.history.run.fresh_complete


class Cut:
    """A history in shares: each stream is in the share that `shares` names."""

    def __init__(self, history, shares):
        self.run, self.column = history.run, history.column
        (self._whole,) = history.partitions()
        self._shares = np.array(shares)

    def partitions(self):
        rows, sightings = self._whole.envelopes, self._whole.sightings
        contested = join.contested(sightings)
        owner = np.append(self._shares[rows["stream"]], 0)  # strays are in the first
        for number in range(3):
            mine = owner[:-1] == number
            moved = np.append(np.cumsum(mine) - 1, -1)
            share = sightings[owner[sightings["row"]] == number].copy()
            share["row"] = moved[share["row"]]
            yield Partition(rows[mine], share, contested[: None if number == 0 else 0])


@STORY
@given(STORIES, st.lists(st.integers(0, 2), min_size=3, max_size=3), st.permutations(range(3)), st.booleans())
def test_a_verdict_does_not_depend_on_how_rows_are_cut_nor_on_the_order_of_merging(story, shares, order, left):
    history = tell(story).history
    cut = Cut(history, shares)
    case = open_case(history)
    assert (open_case(cut).drained == case.drained).all()
    for verifier in VERIFIERS:
        folds = [verifier.fold(case, share) for share in cut.partitions()]
        a, b, c = (folds[number] for number in order)
        merge = verifier.merge
        merged = merge(merge(a, b), c) if left else merge(a, merge(b, c))
        assert verifier.conclude(case, merged) == run_verifier(case, history, verifier)
