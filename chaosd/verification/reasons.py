"""What the circumstances of a run void: each reason takes back the claims that it touches, in both directions or one.

PASS < INCONCLUSIVE < FAIL by the worst verifier, after that. Positive evidence (CORRUPT, DUP-OFFSET, PHANTOM,
MISROUTED, WRONG-ERROR …) is taken back only where somebody changed the journal after it was sealed: then it may be that
change which is seen; and where the tap did not let go of a deleted topic in time: then one place may name records of
two topics. A respawned watchdog harms no evidence and has no reason here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chaosd.kernel.verdict import Grade, Verdict

# Claims, as verifiers name them in `Verdict.reasons`.
ABSENCE = frozenset({"LOST", "MISSING-ERROR", "STUCK", "VANISHED", "not_recovered", "BAD-REPLAY"})
TIME = frozenset({"too_slow", "too_late", "not_recovered"})
ERRORS = frozenset({"UNEXPECTED-ERROR"})
USAGE = frozenset({"LEAK", "BACKLOG", "DEGRADED", "EXHAUSTED"})
_CLASS = {"too_slow": "SLOW-RECOVERY", "not_recovered": "SLOW-RECOVERY", "too_late": "SLOW"}


@dataclass(frozen=True, slots=True)
class Effect:
    """Every reason voids PASS; `failures` are the reasons of a FAIL that it takes back as well, `all_failures` all."""

    failures: frozenset[str] = frozenset()
    all_failures: bool = False

    def takes(self, failure: str) -> bool:
        """Whether a claim of a FAIL does not stand."""
        return failure in self.failures or (self.all_failures and _is_failure(failure))


_ENVIRONMENT = Effect(ABSENCE | TIME | ERRORS | USAGE)
_PREFIX = Effect(ABSENCE)
_PASS_ONLY = Effect()

# Some reasons carry what they are about after a colon: `no_bite:redis-latency`.
EFFECTS: dict[str, Effect] = {
    "stack_unhealthy": _ENVIRONMENT,
    "generator_poisoned": _ENVIRONMENT,
    "tap_died": _ENVIRONMENT,
    "generator_died": Effect(TIME | USAGE),
    "conductor_died": _PREFIX,
    "altered": Effect(all_failures=True),
    "topic_unfollowed": Effect(all_failures=True),
    "torn": _PREFIX,
    "torn_facts": Effect(ABSENCE | {"PHANTOM"}),
    "unsealed": _PREFIX,
    "missing_file": _PREFIX,
    "aborted": _PREFIX,
    "empty": _PASS_ONLY,
    "no_bite": _PASS_ONLY,
    "not_exposed": _PASS_ONLY,
    "exposure_unknown": _PASS_ONLY,
    "bypass": _PASS_ONLY,
    "not_injected": _PASS_ONLY,
    "not_healed": _PASS_ONLY,
    "failed": _PASS_ONLY,
    "heal_not_proved": _PASS_ONLY,
    "drain_not_proved": _PASS_ONLY,
    "verifier_crashed": _PASS_ONLY,
    "certificate_incomplete": _PASS_ONLY,
}


def effect(reason: str) -> Effect:
    """What a reason voids; KeyError for one that is not in the table."""
    return EFFECTS[reason.partition(":")[0]]


def void(verdict: Verdict, reasons: tuple[str, ...]) -> Verdict:
    """A verifier's verdict after the run's reasons took back what they touch.

    A FAIL stays as long as one of its own reasons stays; one that names none is never taken back.
    """
    if verdict.grade is not Grade.FAIL:
        return verdict
    taken = {failure for reason in reasons for failure in verdict.reasons if effect(reason).takes(failure)}
    if not taken:
        return verdict
    left = tuple(reason for reason in verdict.reasons if reason not in taken)
    still = any(_is_failure(reason) for reason in left)
    return replace(
        verdict,
        grade=Grade.FAIL if still else Grade.INCONCLUSIVE,
        reasons=(*left, *(f"void:{failure}" for failure in verdict.reasons if failure in taken)),
    )


def classes(verdict: Verdict) -> tuple[str, ...]:
    """The failed classes of a verdict, as an experiment's `known` section names them."""
    if verdict.grade is not Grade.FAIL:
        return ()
    return tuple(dict.fromkeys(_CLASS.get(r, r) for r in verdict.reasons if _is_failure(r)))


def _is_failure(reason: str) -> bool:
    """Classes are written in capitals; the claims about time are listed."""
    return reason in TIME or (reason.isupper() and reason != "UNSEEN")
