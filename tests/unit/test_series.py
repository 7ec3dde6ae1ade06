"""A series of runs: what a run adds to it, how it goes on, and what it says at its end."""

from __future__ import annotations

import msgspec
import pytest
import report_sample

from chaosd.kernel.errors import Exit, UsageError
from chaosd.report import series
from chaosd.report.series import Plan, Series, told


def run(repetition, recovered, verdict="PASS"):
    return series.Run(
        experiment="calm", repetition=repetition, run_id=f"r{repetition}", seed=1, verdict=verdict, exit=0,
        limit_ms=5000.0, recovered=recovered,
    )  # fmt: skip


def of(*outcomes):
    made = Series(plan=Plan(experiments=("calm",), profile="quick"))
    for number, outcome in enumerate(outcomes):
        made = made.add(run(number, outcome))
    return made


def report(grade="PASS", *, verdict="PASS", upheld="PASS", bite="proved"):
    whole = report_sample.report()
    fault = msgspec.structs.replace(whole.faults[0], bite=bite, healed="proved", exposed="proved")
    episode = msgspec.structs.replace(whole.recovery[0], verdict=grade)
    judged = msgspec.structs.replace(whole.verifiers[0], name="recovery", verdict=upheld)
    return msgspec.structs.replace(whole, verdict=verdict, faults=(fault,), recovery=(episode,), verifiers=(judged,))


@pytest.mark.parametrize(
    ("report", "recovered"),
    [
        (report(), True),
        (report(verdict="FAIL"), True),  # it lost something, and was back in time all the same
        (report("FAIL", verdict="FAIL", upheld="FAIL"), False),
        (report("FAIL", verdict="FAIL", upheld="INCONCLUSIVE"), None),
        (report("INCONCLUSIVE", verdict="FAIL"), None),
        (report(verdict="INCONCLUSIVE"), None),
        (report(verdict="FAIL", bite="missing"), None),
    ],
)
def test_a_run_tells_of_the_recovery_only_what_the_judge_upheld(report, recovered):
    assert told("calm", 0, report).recovered is recovered


def test_claims_follow_from_the_runs_and_say_what_counts_both_ways():
    made = of(True, True, None, False)
    (claim,) = made.claims
    assert (claim.recovered, claim.not_recovered, claim.unknown, claim.runs) == (2, 1, 1, 4)
    assert 0 < claim.low < claim.high < 1
    assert "2 of 4 runs recovered in time, 1 tell nothing and count both ways" in series.sentence(claim)
    assert "P(recovery ≤ 5 s)" in series.sentence(claim)


def test_a_series_is_the_same_after_it_was_written_and_read():
    made = of(True, None)
    assert series.decode(series.encode(made), "series.json") == made
    assert made.has("calm", 1)
    assert not made.has("calm", 2)
    with pytest.raises(UsageError, match=r"series\.json is not a series"):
        series.decode(b"{}", "series.json")


def test_a_series_ends_with_the_worst_of_its_runs():
    assert of(True).exit() is Exit.PASS
    bad = msgspec.structs.replace(run(1, None), exit=int(Exit.INCONCLUSIVE))
    assert of(True).add(bad).exit() is Exit.INCONCLUSIVE
