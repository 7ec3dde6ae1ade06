"""A series of runs: what each of them told of the recovery, and how sure that makes of the next one. Values only.

series.json holds it; a series that was broken off goes on where it stands.
"""

from __future__ import annotations

import msgspec

import chaosd
from chaosd.kernel.errors import Exit, UsageError, worst
from chaosd.report import model
from chaosd.report.telling import duration
from chaosd.verification.confidence import LEVEL, confidence

FORMAT = 1
_PROVED = "proved"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is repeated. A series goes on only with the same plan; it may be made longer at any time."""

    experiments: tuple[str, ...]
    profile: str
    target: str = ""
    seed: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One judged run. `recovered` None: it tells nothing of the recovery."""

    experiment: str
    repetition: int
    run_id: str
    seed: int
    verdict: str
    exit: int
    limit_ms: float | None = None
    recovered: bool | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """P(recovery ≤ limit) of one experiment is in [low, high], at every moment of the series, at `level`."""

    experiment: str
    limit_ms: float
    runs: int
    recovered: int
    not_recovered: int
    unknown: int
    low: float
    high: float
    level: float = LEVEL


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """All of series.json."""

    format: int = FORMAT
    chaosd: str = chaosd.__version__
    plan: Plan
    runs: tuple[Run, ...] = ()
    claims: tuple[Claim, ...] = ()

    def has(self, experiment: str, repetition: int) -> bool:
        """Whether this run is done."""
        return any((run.experiment, run.repetition) == (experiment, repetition) for run in self.runs)

    def add(self, run: Run) -> Series:
        """The series with one more run."""
        runs = (*self.runs, run)
        return msgspec.structs.replace(self, runs=runs, claims=_claims(self.plan, runs))

    def exit(self) -> Exit:
        """The worst of its runs."""
        return worst(Exit(run.exit) for run in self.runs)


def told(experiment: str, repetition: int, report: model.Report) -> Run:
    """What a judged run adds to a series."""
    return Run(
        experiment=experiment,
        repetition=repetition,
        run_id=report.run_id,
        seed=report.seed,
        verdict=report.verdict,
        exit=report.exit,
        limit_ms=report.recovery[0].limit_ms if report.recovery else None,
        recovered=_recovered(report),
    )


def _recovered(report: model.Report) -> bool | None:
    """Whether every episode of faults was over in time. Nothing is known from an inconclusive run, nor where a fault
    was not proved; a failed one has recovered too slowly only if the judge upheld that.
    """
    proved = all((f.bite, f.healed, f.exposed) == (_PROVED,) * 3 for f in report.faults)
    if report.verdict == "INCONCLUSIVE" or not report.recovery or not proved:
        return None
    grades = {episode.verdict for episode in report.recovery}
    upheld = any(one.name == "recovery" and one.verdict == "FAIL" for one in report.verifiers)
    if "FAIL" in grades:
        return False if upheld else None
    return True if grades == {"PASS"} else None


def _claims(plan: Plan, runs: tuple[Run, ...]) -> tuple[Claim, ...]:
    claims = []
    for experiment in plan.experiments:
        mine = [run for run in runs if run.experiment == experiment and run.limit_ms is not None]
        if not mine:
            continue
        known = confidence(run.recovered for run in mine)
        claim = Claim(
            experiment=experiment,
            limit_ms=mine[0].limit_ms or 0.0,
            runs=known.runs,
            recovered=known.successes,
            not_recovered=known.failures,
            unknown=known.unknown,
            low=known.low,
            high=known.high,
        )
        claims.append(claim)
    return tuple(claims)


def sentence(claim: Claim) -> str:
    """A claim for people."""
    unknown = f", {claim.unknown} tell nothing and count both ways" if claim.unknown else ""
    return (
        f"P(recovery ≤ {duration(claim.limit_ms)}) is in [{claim.low:.1%}, {claim.high:.1%}] at {claim.level:.0%}: "
        f"{claim.recovered} of {claim.runs} runs recovered in time{unknown}"
    )


def encode(series: Series) -> bytes:
    """The bytes of series.json."""
    return msgspec.json.format(msgspec.json.encode(series, order="sorted"), indent=2) + b"\n"


def decode(data: bytes, name: str) -> Series:
    """Read series.json back. Raises UsageError when it is none."""
    try:
        return msgspec.json.decode(data, type=Series)
    except msgspec.DecodeError as error:
        raise UsageError(f"{name} is not a series of this chaosd: {error}", remedy="name another --series") from error
