"""Judgement → Report: everything that is stored and shown, taken from the history and the judge's word. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import chaosd
from chaosd.experiment.spec import Known
from chaosd.journal.model import InjectionFacts, RunFacts
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import Exit
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.report import model
from chaosd.report.picture import Seen
from chaosd.verification.compose import Judgement, known_outcome

_EXITS = {Grade.PASS: Exit.PASS, Grade.INCONCLUSIVE: Exit.INCONCLUSIVE, Grade.FAIL: Exit.FAIL}


def build(judgement: Judgement, seen: Seen, sources: Mapping[str, str]) -> model.Report:
    """The report of one judged run; `sources` are the SHA-256 of the verifiers' files by verifier."""
    run, census = judgement.run, judgement.census
    started = _started(run)
    known = _known(judgement, started)
    resolved = started.get("experiment", {})
    exit_code = Exit.PASS if known is not None and known.matched else _EXITS[judgement.grade]
    return model.Report(
        chaosd=chaosd.__version__,
        run_id=run.run_id,
        experiment=str(resolved.get("name", "")),
        title=str(resolved.get("title", "")),
        seed=run.seed,
        verdict=judgement.grade.name,
        reasons=judgement.reasons,
        exit=int(exit_code),
        journal=model.Journal(hash=run.hash, sealed=run.sealed, rows=census.rows, torn=run.torn, missing=run.missing),
        setting=_setting(run, started),
        envelopes=model.Envelopes(
            sent=census.sent,
            acked=census.acked,
            rejected=census.rejected,
            indeterminate=census.indeterminate,
            expected_output=census.expected_output,
            expected_dlq=census.expected_dlq,
            seen_output=seen.output,
            seen_dlq=seen.dlq,
        ),
        faults=_faults(judgement),
        recovery=tuple(_recovery(run, told) for told in judgement.recovery),
        verifiers=tuple(_verifier(verdict, sources) for verdict in judgement.verdicts),
        certificate=_certificate(judgement),
        known=known,
    )


def _started(run: RunFacts) -> Mapping[str, Any]:
    return next((fact for fact in run.facts if fact["kind"] == "run_started"), {})


def _known(judgement: Judgement, started: Mapping[str, Any]) -> model.Known | None:
    told = started.get("experiment", {}).get("known")
    if not told:
        return None
    known = Known(str(told["verdict"]), tuple(told.get("classes", ())), str(told.get("why", "")))
    matched = known_outcome(judgement, known)
    return model.Known(verdict=known.verdict, classes=known.classes, why=known.why, matched=matched)


def _setting(run: RunFacts, started: Mapping[str, Any]) -> model.Setting:
    resolved = started.get("experiment", {})
    wall_ns, ended_ns = started.get("wall_ns"), run.ended_ns
    stack = {
        str(name): model.Part(version=str(part.get("version", "")), origin=str(part.get("origin", "")))
        for name, part in started.get("stack", {}).items()
    }
    return model.Setting(
        description=str(resolved.get("description", "")),
        tags=tuple(resolved.get("tags", ())),
        profile=run.profile,
        started=_utc(wall_ns) if isinstance(wall_ns, int) else "",
        duration_s=None if ended_ns is None else round((ended_ns - run.started_ns) / SECOND, 1),
        rate_hz=started.get("rate_hz"),
        streams=started.get("streams"),
        partitions=started.get("partitions"),
        target=str(started.get("target", {}).get("name", "")),
        stack=stack,
        command=str(started.get("command", "")),
        expect=run.expect.to_json(),
        aborted=run.aborted,
        deaths=run.deaths,
    )


def _utc(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _faults(judgement: Judgement) -> tuple[model.Fault, ...]:
    run = judgement.run
    return tuple(
        model.Fault(
            id=one.injection.id,
            fault=one.injection.fault,
            on=one.injection.on,
            injected_ns=(one.injection.call_ns, one.injection.returned_ns),
            healed_ns=(one.injection.clear_low_ns, one.injection.clear_high_ns),
            bite=one.bite,
            healed=one.healed,
            exposed=one.exposed,
            evidence=plain(one.evidence),
            state=one.injection.state,
            params=plain(dict(one.injection.params)),
            for_ns=one.injection.for_ns,
            healed_by=one.injection.healed_by,
            from_s=_since(run, one.injection.call_ns),
            until_s=_since(run, one.injection.clear_high_ns),
        )
        for one in judgement.faults
    )


def _since(run: RunFacts, at_ns: int) -> float | None:
    return None if at_ns < 0 else round((at_ns - run.started_ns) / SECOND, 3)


def _recovery(run: RunFacts, told: Mapping[str, Any]) -> model.Recovery:
    ids = set(told.get("injections", ()))
    zero_ns = max((_zero_ns(run, one) for one in run.injections if one.id in ids), default=-1)
    return model.Recovery(
        fault=str(told["fault"]),
        low_ms=told["low_ms"],
        high_ms=told["high_ms"],
        limit_ms=told["limit_ms"],
        verdict=str(told["verdict"]),
        threshold_ms=told["threshold_ms"],
        reasons=tuple(told.get("reasons", ())),
        injections=tuple(told.get("injections", ())),
        from_=str(told.get("from", "heal")),
        first_result_ms=told.get("first_result_ms"),
        detection_ms=told.get("detection_ms"),
        flaps=int(told.get("flaps", 0)),
        excess_ms_s=told.get("excess_ms_s"),
        throughput=plain(told.get("throughput") or {}),
        headroom=plain(told["headroom"]) if told.get("headroom") else None,
        zero_s=_since(run, zero_ns),
    )


def _zero_ns(run: RunFacts, injection: InjectionFacts) -> int:
    return injection.call_ns if run.expect.recovery.from_ == "inject" else injection.clear_low_ns


def _verifier(verdict: Verdict, sources: Mapping[str, str]) -> model.Verifier:
    # The picture and the table of recoveries have these.
    details = {name: value for name, value in verdict.details.items() if name not in ("curve", "episodes")}
    return model.Verifier(
        name=verdict.verifier,
        verdict=verdict.grade.name,
        reasons=verdict.reasons,
        counts=plain(dict(verdict.counts)),
        witnesses=tuple(
            model.Witness(
                anomaly=one.anomaly,
                stream=one.stream,
                seq=one.seq,
                hop=one.hop,
                detail=one.detail,
                lifeline=tuple(plain(entry) for entry in one.lifeline),
            )
            for one in verdict.witnesses
        ),
        details=plain(details),
        source=sources.get(verdict.verifier, ""),
    )


def _certificate(judgement: Judgement) -> model.Certificate:
    one = judgement.certificate
    if one is None:
        return model.Certificate()
    return model.Certificate(
        planted=one.planted,
        noticed=one.noticed,
        by_class=one.by_class,
        not_applicable=one.not_applicable,
    )


def plain(value: Any) -> Any:
    """JSON values of what a verifier may have left as numpy scalars or tuples; what is no number becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
