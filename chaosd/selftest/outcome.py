"""What a verdict says about the judge, when it is known what is wrong with the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from chaosd.kernel.verdict import Grade, Verdict
from chaosd.report.model import Report
from chaosd.selftest.matrix import Case
from chaosd.verification import reasons

ATTEMPTS_MAX = 3
# What the machine, or a fault that it kept from biting, does to a measurement. It says nothing about a pipeline, so a
# run that is undecided for nothing else may be done again.
_ENVIRONMENT = frozenset(
    {
        "baseline_too_slow", "baseline_unstable", "generator_late", "generator_poisoned", "judge_stalled",
        "latency_not_decided", "no_bite", "not_decided", "not_injected", "part_slow", "stack_unhealthy", "too_short",
    }
)  # fmt: skip


class Outcome(StrEnum):
    """Only the first is as it must be."""

    RIGHT = "right"
    MISSED = "missed"  # a mistake that must be found was not
    ACCUSED = "accused"  # something was found that is not there
    UNDECIDED = "undecided"  # no answer, though nothing of the environment explains it, or three times in a row
    BROKEN = "no verdict"  # the run itself did not come to an end


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a case. `classes` are those of its FAIL; `error` says why there is no verdict."""

    run_id: str
    seed: int
    verdict: str
    classes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    duplicates_allowed: int = 0
    took_s: float = 0.0
    error: str = ""


def attempt(report: Report, took_s: float) -> Attempt:
    """What matters here of a judged run."""
    judged = [Verdict(one.name, Grade[one.verdict], one.reasons) for one in report.verifiers]
    return Attempt(
        run_id=report.run_id,
        seed=report.seed,
        verdict=report.verdict,
        classes=tuple(dict.fromkeys(name for verdict in judged for name in reasons.classes(verdict))),
        reasons=report.reasons,
        duplicates_allowed=sum(int(one.details.get("duplicates_allowed", 0)) for one in report.verifiers),
        took_s=round(took_s, 1),
    )


def weigh(case: Case, last: Attempt) -> Outcome:
    """What the last attempt at a case says."""
    if not last.verdict:
        return Outcome.BROKEN
    grade = Grade[last.verdict]
    if grade is Grade.FAIL:
        found = set(last.classes)
        must = set(case.must) if case.verdict is Grade.FAIL else set()
        if found - must - (set(case.may) if case.verdict is Grade.FAIL else set()) or case.verdict is not Grade.FAIL:
            return Outcome.ACCUSED
        return Outcome.RIGHT if must <= found else Outcome.MISSED
    if case.verdict is Grade.INCONCLUSIVE:
        if grade is Grade.PASS:
            return Outcome.MISSED
        found = {reason.partition(":")[0] for reason in last.reasons}
        return Outcome.RIGHT if set(case.must) <= found <= {*case.must, *case.may} else Outcome.UNDECIDED
    if grade is case.verdict:
        return Outcome.RIGHT
    return Outcome.MISSED if grade is Grade.PASS else Outcome.UNDECIDED


def again(case: Case, attempts: Sequence[Attempt]) -> bool:
    """Whether a case may be tried once more: undecided, by the environment alone. What was decided stays decided."""
    if not attempts:
        return True
    if len(attempts) >= ATTEMPTS_MAX or weigh(case, attempts[-1]) is not Outcome.UNDECIDED:
        return False
    of_machine = [_bare(reason) in _ENVIRONMENT for reason in attempts[-1].reasons]
    others = {_bare(reason) for reason in attempts[-1].reasons} - _ENVIRONMENT
    return any(of_machine) and others <= {*case.must, *case.may}


def _bare(reason: str) -> str:
    """`no_bite:1-latency-redis` and `recovery:part_slow:kafka` without what they are about, and who says it."""
    before, _, behind = reason.partition(":")
    return before if before in reasons.EFFECTS or not behind else behind.partition(":")[0]
