"""What people read about the faults, made from the table: for `chaosd faults` and for docs/faults.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from chaosd.experiment import overlays
from chaosd.experiment.spec import Experiment
from chaosd.experiment.timeline import TRAFFIC, Step
from chaosd.faults.params import FORM
from chaosd.faults.table import FAMILIES, FAULTS
from chaosd.kernel.proof import Proof

_FAMILIES = {
    "network": "Network, between the target and a part, by Toxiproxy",
    "process": "Processes, of a part, of Toxiproxy or of the target",
    "redis": "Redis, by its own commands",
    "kafka": "Kafka, by its own administration",
    TRAFFIC: "Traffic, laid over the plan of what is sent",
    "postgres": "PostgreSQL, by its own statements",
}
# What a fault needs of the stack, in words.
_NEEDS = {
    "proxy": "a proxy in front of the part (every stack has one)",
    "restart": "a process that chaosd started (the embedded stack, the target)",
    "admin": "chaosd as an administrator of the server (the embedded stack; others with the capability `admin`)",
    "own": "a stack that is chaosd's own (the embedded stack)",
}
_VOIDS = {
    "results": "the results of envelopes that are under way while it lasts",
    "topic": "results that nobody has seen before they were deleted with their topic",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `form`: unit and bounds of what is accepted; `default` is None where it must be given."""

    name: str
    form: str
    default: str | None
    about: str


@dataclass(frozen=True, slots=True)
class Example:
    """A bundled experiment that uses a fault: its name, the step as written, and what proves it there."""

    experiment: str
    step: str
    bite: tuple[str, ...]
    healed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """One fault in words."""

    name: str
    family: str
    summary: str
    about: str
    on: tuple[str, ...]
    needs: str
    voids: tuple[str, ...]
    irreversible: bool
    parameters: tuple[Parameter, ...]
    example: Example | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def describe(experiments: Iterable[Experiment] = ()) -> dict[str, Description]:
    """Every fault in words, in the order of the table; the example is the simplest experiment that uses it."""
    examples: dict[str, Example] = {}
    for experiment in sorted(experiments, key=lambda one: len(one.timeline)):
        for step in experiment.timeline:
            examples.setdefault(step.fault, _example(experiment, step))
    broken = {
        fault.name: Description(
            name=fault.name,
            family=family,
            summary=fault.summary,
            about=" ".join((fault.params.__doc__ or "").split()),
            on=fault.on,
            needs=_NEEDS[fault.needs],
            voids=tuple(_VOIDS[name] for name in fault.voids),
            irreversible=fault.irreversible,
            parameters=parameters(fault.params),
            example=examples.get(fault.name),
        )
        for family, faults in FAMILIES.items()
        for fault in faults
    }
    laid_over = {
        name: Description(
            name=name,
            family=TRAFFIC,
            summary=overlays.SUMMARIES[name],
            about=" ".join((form.params.__doc__ or "").split()),
            on=form.on,
            needs="nothing: it is data in the plan of the traffic, without a lease (`on` need not be said)",
            voids=(),
            irreversible=False,
            parameters=parameters(form.params),
            example=examples.get(name),
        )
        for name, form in overlays.FORMS.items()
    }
    return {**broken, **laid_over}


def parameters(model: type[BaseModel]) -> tuple[Parameter, ...]:
    """The parameters of a model, as its schema tells them."""
    schema = model.model_json_schema(by_alias=True)
    return tuple(
        Parameter(
            name,
            _form(told),
            None if name in schema.get("required", ()) else _written(told.get("default")),
            told.get("description", ""),
        )
        for name, told in schema.get("properties", {}).items()
    )


def _form(told: Mapping[str, Any]) -> str:
    if FORM in told:
        return str(told[FORM])
    if "enum" in told:
        return " | ".join(map(str, told["enum"]))
    if "minimum" in told and "maximum" in told:
        return f"{told['minimum']} to {told['maximum']}"
    if told.get("type") == "boolean":
        return "true | false"
    return ""


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {inner}" for key, inner in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(experiment: Experiment, step: Step) -> Example:
    if step.overlay:
        return Example(experiment.name, _step(step), tuple(map(_proof, overlays.proofs(step))), ("it breaks nothing",))
    fault = FAULTS[step.fault]
    return Example(
        experiment.name,
        _step(step),
        tuple(map(_proof, fault.bite(step.on, step.params))),
        tuple(map(_proof, fault.healed(step.on, step.params))),
    )


def _step(step: Step) -> str:
    words = [f"fault: {step.fault}", f"on: {step.on}"]
    words += [f"{name}: {_written(value)}" for name, value in step.params.model_dump(mode="json").items()]
    return "{" + ", ".join(words) + "}"


def _proof(proof: Proof) -> str:
    what = f"{proof.on} tells {proof.gauge}" if proof.gauge else f"{proof.source} of {proof.on}"
    return " ".join(word for word in (what, proof.stream, proof.asked) if word)


def markdown(described: Mapping[str, Description]) -> str:
    """docs/faults.md."""
    return "\n".join(_page(described)) + "\n"


def _page(described: Mapping[str, Description]) -> Iterator[str]:
    yield "# Faults"
    yield ""
    yield "<!-- Made by `chaosd faults --markdown > docs/faults.md`: do not change it by hand. -->"
    yield ""
    yield "What can be broken, on what, and with which parameters. A step of a timeline names the `fault`, what it is"
    yield "`on`, when (`at`) and `for` how long; parameters stand beside these. `chaosd faults NAME` tells the same."
    yield ""
    yield "| fault | on | |"
    yield "|---|---|---|"
    for one in described.values():
        yield f"| [{one.name}](#{one.name}) | {', '.join(one.on)} | {one.summary} |"
    family = ""
    for one in described.values():
        if one.family != family:
            family = one.family
            yield ""
            yield f"## {_FAMILIES[family]}"
        yield ""
        yield from _section(one)


def _section(one: Description) -> Iterator[str]:
    yield f"### {one.name}"
    yield ""
    yield one.summary + (f" {one.about}" if one.parameters else "")
    yield ""
    yield f"- on: {', '.join(one.on)}"
    yield f"- needs: {one.needs}"
    if one.irreversible:
        yield "- irreversible: what it breaks is not brought back; healed means that the service works again"
    for words in one.voids:
        yield f"- takes away: {words}"
    if one.parameters:
        yield ""
        yield "| parameter | accepts | default | |"
        yield "|---|---|---|---|"
        for told in one.parameters:
            default = "required" if told.default is None else f"`{told.default}`"
            yield f"| `{told.name}` | {told.form.replace('|', 'or')} | {default} | {told.about} |"
    if one.example is not None:
        yield ""
        yield f"`{one.example.step}` in the experiment `{one.example.experiment}`:"
        yield ""
        yield f"- it bites: {'; '.join(one.example.bite)}"
        yield f"- it is gone: {'; '.join(one.example.healed)}"


def family_title(family: str) -> str:
    """The heading of a family."""
    return _FAMILIES[family]
