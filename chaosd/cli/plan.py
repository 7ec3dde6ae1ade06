"""`chaosd plan`: what an experiment would do, with every default filled in; nothing is started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chaosd.experiment.limits import Limits
    from chaosd.experiment.spec import Experiment
    from chaosd.experiment.timeline import Step

_WIDTH = 60
_LABEL = 12
# Faults that let nothing through: what is sent meanwhile is left to catch up with.
_OUTAGES = (
    *("down", "blackhole", "mute", "reset", "restart", "kill", "pause", "flap"),
    *("maxmemory", "readonly_replica", "maxclients", "exhaust_connections", "lock_table", "read_only", "topic_deleted"),
)


def plan(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A bundled name or a YAML file.")],
    profile: Annotated[str, typer.Option(help="standard: as defined; quick: shorter phases")] = "standard",
    seed: Annotated[int | None, typer.Option(help="what the timeline leaves to chance, as with this seed")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The resolved experiment as JSON.")] = False,
) -> None:
    """Show what an experiment would do, and do nothing. Exit 0: it can be run, 2: it cannot."""
    from chaosd.catalogue import catalogue
    from chaosd.conductor import operator
    from chaosd.experiment.parse import load
    from chaosd.target.launch import names

    limits = operator.read().limits
    experiment = load(name, catalogue().forms, profile=profile, targets=names(), limits=limits, seed=seed or 0)
    if as_json:
        planned = {
            "envelopes": _envelopes(experiment),
            "traffic_s": round(experiment.traffic_ns / 1e9, 2),
            "expected_s": round(experiment.expected_ns / 1e9, 1),
            "headroom": list(_headroom(experiment)),
        }
        print(json.dumps({**experiment.to_json(), "planned": planned}, indent=2, ensure_ascii=False))
        return
    print("\n".join(_lines(experiment)))
    if any(step.drawn for step in experiment.timeline):
        said = f"drawn as with the seed {seed or 0}" + ("" if seed is not None else "; a run draws its own")
        print(_row("chance", f"what is marked with ~ is {said}: --seed N"))


def _lines(experiment: Experiment) -> Iterator[str]:
    import textwrap

    yield f"{experiment.name}: {experiment.title}"
    yield from textwrap.wrap(experiment.description, width=100, initial_indent="  ", subsequent_indent="  ")
    yield ""
    several = f", {experiment.replicas} replicas" if experiment.replicas > 1 else ""
    yield _row("target", experiment.target + several)
    if experiment.brokers > 1:
        yield _row("kafka", f"{experiment.brokers} brokers, every topic on all of them")
    yield _row("traffic", _traffic(experiment))
    yield _row("envelopes", f"about {_envelopes(experiment):,}, and a burst that measures what the pipeline can take")
    yield _row(
        "duration", f"about {experiment.expected_ns / 1e9:.0f} s, {experiment.traffic_ns / 1e9:.0f} s of it traffic"
    )
    yield ""
    yield from _time_line(experiment)
    yield ""
    yield from (_row("expect" if n == 0 else "", text) for n, text in enumerate(_expect(experiment)))
    if experiment.known is not None:
        classes = ", ".join(experiment.known.classes)
        yield _row("known", f"{experiment.known.verdict} with {classes}: {experiment.known.why}")
    yield _row("limits", _limits(experiment.limits))
    yield from (_row("abort when" if n == 0 else "", text) for n, text in enumerate(experiment.abort_when.lines()))
    yield from (_row("headroom", text) for text in _headroom(experiment))
    yield from (_row("note", text) for text in experiment.notes)


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def _traffic(experiment: Experiment) -> str:
    traffic = experiment.traffic
    text = f"{traffic.rate_hz:g}/s over {traffic.streams} streams"
    if traffic.poison:
        shares = {share for _, share in traffic.poison}
        kinds = ", ".join(kind if len(shares) == 1 else f"{kind} {100 * share:.2g}%" for kind, share in traffic.poison)
        text += f", {100 * traffic.poison_share:.3g}% poison: {kinds}"
    return text


def _envelopes(experiment: Experiment) -> int:
    more = sum((rate_hz - experiment.traffic.rate_hz) * for_s for rate_hz, for_s in _overloads(experiment))
    return round(experiment.traffic.rate_hz * experiment.traffic_ns / 1e9 + more)


def _overloads(experiment: Experiment) -> list[tuple[float, float]]:
    """(envelopes a second, seconds) of each."""
    from chaosd.experiment.overlays import OverloadParams

    return [
        (step.params.rate_hz, step.for_ns / 1e9)
        for step in experiment.overlays
        if isinstance(step.params, OverloadParams)
    ]


def _time_line(experiment: Experiment) -> Iterator[str]:
    """Phases and faults drawn to scale, one row each; the scale counts from the end of the baseline."""
    from chaosd.experiment.timeline import lasts_ns
    from chaosd.kernel.units import format_duration

    phases = experiment.phases
    start_ns = -(phases.warmup_ns + phases.baseline_ns)
    heal_ns = lasts_ns(experiment.timeline)
    end_ns = heal_ns + experiment.observe_ns

    def row(label: str, from_ns: int, until_ns: int, mark: str, text: str) -> str:
        first = round((from_ns - start_ns) / (end_ns - start_ns) * _WIDTH)
        last = max(first + 1, round((until_ns - start_ns) / (end_ns - start_ns) * _WIDTH))
        bar = "·" * first + mark * (last - first) + "·" * (_WIDTH - last)
        return f"  {label:<{_LABEL}}{bar[:_WIDTH]}  {text}"

    yield row("warm-up", start_ns, -phases.baseline_ns, "░", format_duration(phases.warmup_ns))
    yield row("baseline", -phases.baseline_ns, 0, "▒", f"{phases.baseline_ns / 1e9:g}s without a fault")
    for step in experiment.timeline:
        yield row(step.on, step.at_ns, step.until_ns, "█", _step(step))
    yield row(
        "recovery", heal_ns, end_ns, "─", f"traffic goes on for {experiment.observe_ns / 1e9:g}s after the last heal"
    )


def _step(step: Step) -> str:
    from chaosd.kernel.units import format_duration

    params = " ".join(f"{key} {value}" for key, value in step.params.model_dump(mode="json").items())
    lasts = f"for {format_duration(step.for_ns)}" if step.for_ns else "and started again at once"
    at = f"{step.fault} at {'~' if step.drawn else ''}{format_duration(step.at_ns)}"
    return " ".join(part for part in (at, lasts, params) if part)


def _expect(experiment: Experiment) -> Iterator[str]:
    from chaosd.kernel.units import format_duration

    expect = experiment.expect
    yield f"recovered within {format_duration(expect.recovery.within_ns)} of the {expect.recovery.from_}"
    words = {
        "loss": expect.loss,
        "duplicates": expect.duplicates,
        "order": expect.order,
        "system errors": expect.system_errors,
    }
    yield ", ".join(f"{what}: {word}" for what, word in words.items())
    if expect.latency_p99_outside_faults_ns is not None:
        yield f"p99 outside faults at most {format_duration(expect.latency_p99_outside_faults_ns)}"
    asked = {name: word for name, word in asdict(expect.resources).items() if word not in ("not_judged", None)}
    if asked:
        yield ", ".join(f"{what}: {word}" for what, word in asked.items())


def _limits(limits: Limits) -> str:
    from chaosd.kernel.units import format_duration

    told = {
        "faults_at_once": f"{limits.faults_at_once} faults at once",
        "fault_lasts_ns": f"{format_duration(limits.fault_lasts_ns)} each",
        "brokers": f"{100 * limits.brokers:g}% of the brokers",
    }
    return "at most " + ", ".join(f"{text} ({limits.who(name)})" for name, text in told.items())


def _headroom(experiment: Experiment) -> Iterator[str]:
    """What the longest outage leaves to catch up with: D·λ envelopes, at C − λ a second (docs/verification.md)."""
    rate_hz, within_s = experiment.traffic.rate_hz, experiment.expect.recovery.within_ns / 1e9
    for sent_hz, for_s in _overloads(experiment):
        # (R − C)·D left, worked off at C − λ within W: C ≥ (R·D + λ·W) / (D + W).
        needed_hz = (sent_hz * for_s + rate_hz * within_s) / (for_s + within_s)
        yield (
            f"{for_s:g} s of {sent_hz:,.0f}/s: within {within_s:g} s only a pipeline that can do more than "
            f"{needed_hz:,.0f}/s works off what is left"
        )
    longest_s = max((step.for_ns for step in experiment.timeline if step.fault in _OUTAGES), default=0) / 1e9
    if not longest_s:
        return
    waiting = rate_hz * longest_s
    needed = f"within {within_s:g} s only a pipeline that can do more than {rate_hz + waiting / within_s:,.0f}/s"
    yield f"{longest_s:g} s of outage leave {waiting:,.0f} envelopes to catch up with: {needed}"
