"""Composes the judgement of a run: verifiers over the history, faults over the evidence, voids, the certificate."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any, Protocol

from chaosd.journal.model import BROKEN, DIFFERS, History, RunFacts
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import lifeline, reasons
from chaosd.verification.case import Case, open_case
from chaosd.verification.census import Census, count
from chaosd.verification.certificate import Certificate, Copy
from chaosd.verification.cores import Folds, conclude, crew, fold
from chaosd.verification.exposure import MISSING, UNKNOWN, FaultVerdict, gather, judge_fault
from chaosd.verification.health import slow_parts, unhealthy
from chaosd.verification.obligations import all_drained
from chaosd.verification.verifier import Verifier


class KnownFailure(Protocol):
    """The experiment's `known` section: a documented failure. `verdict` is a grade's name."""

    @property
    def verdict(self) -> str:
        """The documented verdict."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The documented classes of anomaly."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that the judge says about a run.

    `reasons` are those of the run (verification/reasons.py) followed by the verifiers' own, `classes` the failed
    classes and claims. `certificate` is None unless the run would PASS.
    """

    run: RunFacts
    grade: Grade
    reasons: tuple[str, ...]
    classes: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    faults: tuple[FaultVerdict, ...]
    census: Census
    certificate: Certificate | None

    @property
    def recovery(self) -> list[dict[str, Any]]:
        """The episodes of the verifier `recovery`, as its details tell them."""
        return [told for verdict in self.verdicts for told in verdict.details.get("episodes", ())]


def judge(history: History, verifiers: Sequence[Verifier], *, with_certificate: bool = True) -> Judgement:
    """Judge a run by those verifiers that apply to it. Pure: the same history and verifiers give the same judgement."""
    opened = open_case(history)
    evidence = gather(history)
    run = replace(opened.run, unhealthy=unhealthy(opened.run, evidence.canaries))
    case = replace(opened, run=run, slow=slow_parts(run, evidence))
    census = count(history)
    verifiers = [verifier for verifier in verifiers if verifier.applies(case)]
    shares, certificate = tuple(history.partitions()), None
    with crew(census.rows) as pool:
        folds = fold(pool, case, shares, verifiers)
        pending = [pool.submit(_verdict, case, *one) for one in zip(verifiers, folds, strict=True)]
        faults = tuple(judge_fault(case.run, evidence, injection) for injection in case.run.injections)
        found = [*_of_run(case.run, census), *_of_faults(faults)]
        copy = Copy(pool, case, shares, verifiers, folds) if with_certificate and not found else None
        if copy is not None:
            _plant(copy, folds, pending)
        verdicts = tuple(one.result() for one in pending)
        found += _of_verifiers(verdicts)
        if copy is not None and _grade(verdicts, tuple(found)) is Grade.PASS:
            certificate = copy.judge()
            found += [f"certificate_incomplete:{name}" for name in certificate.unnoticed]
        pool.shutdown(cancel_futures=True)  # what was planted in a run that does not pass is nobody's concern
    run_reasons = tuple(dict.fromkeys(found))
    verdicts = tuple(reasons.void(verdict, run_reasons) for verdict in verdicts)
    verdicts = lifeline.attach(case, history, verdicts)
    own = [f"{verdict.verifier}:{reason}" for verdict in verdicts for reason in verdict.reasons]
    return Judgement(
        run=case.run,
        grade=_grade(verdicts, run_reasons),
        reasons=(*run_reasons, *own),
        classes=tuple(dict.fromkeys(name for verdict in verdicts for name in reasons.classes(verdict))),
        verdicts=verdicts,
        faults=faults,
        census=census,
        certificate=certificate,
    )


def _plant(copy: Copy, folds: Sequence[Folds], pending: Sequence[Future[Verdict]]) -> None:
    """Make the certificate's copy while the verifiers conclude, and as long as none of them speaks against a PASS."""
    wait([one for of_shares in folds for one in of_shares])
    while all(one.result().grade is Grade.PASS for one in pending if one.done()) and copy.plant():
        pass


def known_outcome(judgement: Judgement, known: KnownFailure | None) -> bool:
    """Whether the run ended exactly as documented: this verdict with exactly these classes."""
    if known is None:
        return False
    return judgement.grade.name == known.verdict and set(judgement.classes) == set(known.classes)


def run_verifier(case: Case, history: History, verifier: Verifier) -> Verdict:
    """Fold, merge and conclude one verifier over a history. Raises whatever the verifier raises."""
    shares = tuple(history.partitions())
    with crew(0) as pool:
        return conclude(case, verifier, *fold(pool, case, shares, [verifier]))


def _verdict(case: Case, verifier: Verifier, folds: Folds) -> Verdict:
    try:
        return conclude(case, verifier, folds)
    except Exception as error:  # noqa: BLE001 - a verifier may be anybody's file; its crash is a result, not ours
        detail = {"error": f"{type(error).__name__}: {error}"}
        return Verdict(verifier.name, Grade.INCONCLUSIVE, ("verifier_crashed",), details=detail)


def _grade(verdicts: Sequence[Verdict], run_reasons: tuple[str, ...]) -> Grade:
    floor = Grade.INCONCLUSIVE if run_reasons or not verdicts else Grade.PASS
    return max([floor, *(reasons.void(verdict, run_reasons).grade for verdict in verdicts)])


def _of_run(run: RunFacts, census: Census) -> list[str]:
    found = []
    if run.unhealthy:
        found += [f"stack_unhealthy:{span.on}" for span in run.unhealthy]
    if run.poisoned:
        found.append("generator_poisoned")
    found += [f"{process}_died" for process in run.deaths if f"{process}_died" in reasons.EFFECTS]
    for cut in run.torn:
        name, _, why = cut.partition(": ")
        whole = "torn_facts" if name.startswith("facts-") else "torn"
        found.append(f"{'altered' if why.startswith((DIFFERS, BROKEN)) else whole}:{name}")
    found += [f"missing_file:{name}" for name in run.missing]
    if not run.sealed:
        found.append("unsealed")
    found += [f"topic_unfollowed:{one.injection}" for one in run.deletions if not one.clean]
    if run.aborted is not None:
        found.append("aborted")
    if not census.acked:
        found.append("empty")
    if not all_drained(run):
        found.append("drain_not_proved")
    return found


def _of_faults(faults: Sequence[FaultVerdict]) -> list[str]:
    found = []
    for fault in faults:
        name, state = fault.injection.id, fault.injection.state
        if fault.injection.call_ns < 0:
            found.append(f"not_injected:{name}")
            continue
        if state == "failed" and fault.injection.clear_high_ns >= 0:
            found.append(f"failed:{name}")
        elif state != "healed":
            found.append(f"not_healed:{name}")
        elif fault.healed == MISSING:
            found.append(f"heal_not_proved:{name}")
        if fault.bite == MISSING:
            found.append(f"no_bite:{name}")
        if fault.exposed == MISSING:
            found.append(f"not_exposed:{name}")
        elif fault.exposed == UNKNOWN:
            found.append(f"exposure_unknown:{name}")
        if fault.bypass:
            found.append(f"bypass:{name}")
    return found


def _of_verifiers(verdicts: Sequence[Verdict]) -> list[str]:
    return [f"verifier_crashed:{verdict.verifier}" for verdict in verdicts if "verifier_crashed" in verdict.reasons]
