"""Makes an experiment fit a pipeline of somebody's own: what it cannot be asked is left out and said so, or refused."""

from __future__ import annotations

from dataclasses import replace

from chaosd.experiment.contract import SPOILED
from chaosd.experiment.overlays import PoisonParams
from chaosd.experiment.spec import Expect, Experiment, Traffic
from chaosd.experiment.target import TARGET, Pipeline
from chaosd.experiment.timeline import Step
from chaosd.kernel import names
from chaosd.kernel.errors import UsageError

# The fault whose members join the group that reads the input.
_OF_A_GROUP = "rebalance"


def fit(experiment: Experiment, pipeline: Pipeline) -> Experiment:
    """The experiment on this pipeline. Raises UsageError for a step that cannot be done to it."""
    timeline = tuple(_placed(step, pipeline) for step in experiment.timeline)
    for step in timeline:
        if names.kind(step.on) == TARGET and not pipeline.processes:
            raise UsageError(
                f"{step.fault} cannot be done to {pipeline.name}: it runs already, and not by chaosd",
                remedy="let the target file say how it is started, or break something else",
            )
        if isinstance(step.params, PoisonParams):
            _refuse_poison(step.params, pipeline)
        _refuse_unclear(step, pipeline)
    traffic, notes = _traffic(experiment.traffic, pipeline)
    return replace(
        experiment,
        target=pipeline.name,
        timeline=timeline,
        replicas=len(pipeline.processes),
        pipeline=pipeline,
        traffic=traffic,
        expect=_expect(experiment.expect, pipeline),
        # What is known of the experiment's own target says nothing about another.
        known=experiment.known if experiment.pipeline is None else None,
        notes=(
            *experiment.notes,
            *notes,
            *_shares(traffic, pipeline),
            *(f"not judged: {what}" for what in pipeline.contract.not_judged()),
        ),
    )


def _placed(step: Step, pipeline: Pipeline) -> Step:
    """The step on a process of this pipeline: the Nth, where it was written for the Nth replica of another target.

    Raises UsageError when there is none.
    """
    processes = [name for name, *_ in pipeline.processes]
    if names.kind(step.on) != TARGET or not processes or names.members(processes, step.on):
        return step
    number = step.on.rpartition("/")[2]
    if not number.isdecimal() or int(number) >= len(processes):
        raise UsageError(f"{pipeline.name} has no {step.on}", remedy=f"it has {', '.join(processes)}")
    return replace(step, on=processes[int(number)])


def _expect(expect: Expect, pipeline: Pipeline) -> Expect:
    """Where an input may give nothing at all, nobody can say what is lost."""
    return replace(expect, loss="not_judged") if pipeline.contract.owes_nothing else expect


def _refuse_poison(params: PoisonParams, pipeline: Pipeline) -> None:
    if pipeline.contract.letters is None:
        raise UsageError(f"{pipeline.name} has no dead letter topic for poison", remedy="name one: `topics.dlq`")
    if params.kind not in SPOILED:
        raise UsageError(
            f"whether {params.kind} is poison to {pipeline.name} is not known",
            remedy=f"poison that nobody can read: kind: {' or '.join(SPOILED)}",
        )


def _refuse_unclear(step: Step, pipeline: Pipeline) -> None:
    """What is done to the one input topic, or to its group, says nothing of which of several is meant."""
    inputs = pipeline.inputs
    if len(inputs) == 1:
        return
    if getattr(step.params, "topic", "") == "input":
        raise UsageError(
            f"{step.fault} on the input topic: {pipeline.name} has {len(inputs)} of them",
            remedy="`topic: output` or `topic: dlq`, or a target file with one input",
        )
    if step.fault == _OF_A_GROUP and len({one.group for one in inputs}) > 1:
        raise UsageError(
            f"{step.fault}: the inputs of {pipeline.name} are read by several consumer groups",
            remedy="break something else: it can be done only where one group reads all inputs",
        )


def _shares(traffic: Traffic, pipeline: Pipeline) -> tuple[str, ...]:
    """How the traffic is shared out among several inputs. Raises UsageError where they cannot all have some."""
    inputs = pipeline.contract.inputs
    if len(inputs) == 1:
        return ()
    try:
        dealt = pipeline.contract.dealt(traffic.streams)
    except ValueError as error:
        raise UsageError(f"{pipeline.name}: {error}", remedy="more of them: `traffic: {streams: …}`") from error
    told = ", ".join(f"{one.topic} {dealt.count(number)}" for number, one in enumerate(inputs))
    return (f"of {traffic.streams} streams: {told}",)


def _traffic(traffic: Traffic, pipeline: Pipeline) -> tuple[Traffic, tuple[str, ...]]:
    """The traffic with poison only of kinds that every contract refuses, and notes of what differs."""
    if not traffic.poison:
        return traffic, ()
    if pipeline.contract.letters is None:
        return replace(traffic, poison=()), (f"no poison: {pipeline.name} has no dead letter topic",)
    kept = {kind: share for kind, share in traffic.poison if kind in SPOILED}
    if len(kept) == len(traffic.poison):
        return traffic, ()
    kept = kept or dict.fromkeys(SPOILED, 1.0)
    scale = traffic.poison_share / sum(kept.values())
    note = f"poison is {' and '.join(kept)} only: whether other kinds are refused is not known of {pipeline.name}"
    return replace(traffic, poison=tuple((kind, share * scale) for kind, share in kept.items())), (note,)
