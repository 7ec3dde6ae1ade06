"""Overlays: steps of the timeline that change the traffic itself. Data only; nothing is broken, so nothing is healed.

The conductor cuts the schedule at their edges, and each Segment says what is laid over it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chaosd.envelope.poison import KINDS
from chaosd.experiment.spec import FaultForm, Traffic
from chaosd.experiment.timeline import TRAFFIC, Step
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.kernel.units import parse_rate_hz, parse_share

RATE_HZ_MAX = 50_000.0
POISON, OVERLOAD, DUPLICATES = "poison", "overload", "duplicates"
# What schemas tell people about a parameter: faults/params.py.
_FORM = "x-form"


def _some_share(text: str) -> str:
    if parse_share(text) == 0:
        raise ValueError("a share above 0%")
    return text


def _rate(text: str) -> str:
    if not 0 < parse_rate_hz(text) <= RATE_HZ_MAX:
        raise ValueError(f"a rate above 0/s and of at most {RATE_HZ_MAX:.0f}/s")
    return text


ShareText = Annotated[
    str,
    Field(pattern=r"^\s*\d+(\.\d+)?\s*%\s*$", examples=["20%"], json_schema_extra={_FORM: "above 0%, at most 100%"}),
    AfterValidator(_some_share),
]
RateText = Annotated[
    str,
    Field(pattern=r"^\s*\d+(\.\d+)?\s*/(s|m)\s*$", examples=["900/s"], json_schema_extra={_FORM: "at most 50000/s"}),
    AfterValidator(_rate),
]


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PoisonParams(_Params):
    """More envelopes than usual are spoiled; each must end as one system error, and nothing else."""

    share: ShareText = Field(description="Of the envelopes meanwhile, beside what the traffic has of its own.")
    kind: Literal["all", "not_json", "field_missing", "wrong_type", "unknown_enum", "oversized", "wrong_encoding"] = (
        Field(default="all", description="How they are spoiled; all: every kind in turn.")
    )

    def shares(self) -> dict[str, float]:
        """The share of each kind."""
        kinds = KINDS if self.kind == "all" else (self.kind,)
        return {kind: parse_share(self.share) / len(kinds) for kind in kinds}


class OverloadParams(_Params):
    """More envelopes are sent than usual, open loop; the pipeline must work off what it could not do at once."""

    rate: RateText = Field(description="Envelopes a second meanwhile, over all streams.")

    @property
    def rate_hz(self) -> float:
        """The rate."""
        return parse_rate_hz(self.rate)


class DuplicatesParams(_Params):
    """Envelopes are sent twice, the very same record; each must still give its result once."""

    share: ShareText = Field(description="Of the envelopes meanwhile that are not spoiled.")


@dataclass(frozen=True, slots=True)
class Mix:
    """What traffic is made of at some moment."""

    rate_hz: float
    poison: tuple[tuple[str, float], ...]
    duplicates: float = 0.0


FORMS: Mapping[str, FaultForm] = {
    name: FaultForm(name, params, (TRAFFIC,), "")
    for name, params in ((POISON, PoisonParams), (OVERLOAD, OverloadParams), (DUPLICATES, DuplicatesParams))
}
SUMMARIES: Mapping[str, str] = {
    POISON: "A burst of spoiled envelopes in the traffic.",
    OVERLOAD: "More traffic than usual for a while.",
    DUPLICATES: "Envelopes that are sent twice.",
}


def mix(traffic: Traffic, overlays: Iterable[Step], at_ns: int) -> Mix:
    """The traffic at a moment of the timeline, with all that is laid over it then."""
    rate_hz, poison, duplicates = traffic.rate_hz, dict(traffic.poison), 0.0
    for step in overlays:
        if not step.at_ns <= at_ns < step.until_ns:
            continue
        match step.params:
            case OverloadParams():
                rate_hz = step.params.rate_hz
            case PoisonParams():
                for kind, share in step.params.shares().items():
                    poison[kind] = poison.get(kind, 0.0) + share
            case DuplicatesParams():
                duplicates = parse_share(step.params.share)
    return Mix(rate_hz, tuple(poison.items()), duplicates)


def next_edge_ns(overlays: Iterable[Step], after_ns: int) -> int | None:
    """When the mix changes next; None when it stays."""
    return min((edge for step in overlays for edge in (step.at_ns, step.until_ns) if edge > after_ns), default=None)


def proofs(step: Step) -> tuple[Proof, ...]:
    """What shows that an overlay was really in the traffic: what was sent meanwhile."""
    match step.params:
        case OverloadParams():
            return (Proof(Source.SENT_HZ, TRAFFIC, Relation.AT_LEAST, step.params.rate_hz),)
        case PoisonParams():
            kinds = tuple(step.params.shares())
            return (Proof(Source.SENT_POISON, TRAFFIC, Relation.AT_LEAST, parse_share(step.params.share), words=kinds),)
        case DuplicatesParams():
            return (Proof(Source.SENT_TWICE, TRAFFIC, Relation.AT_LEAST, parse_share(step.params.share)),)
    return ()


def problem(step: Step, traffic: Traffic) -> tuple[str, str] | None:
    """What this overlay cannot do to this traffic, and what is expected; None when it can."""
    match step.params:
        case OverloadParams() if step.params.rate_hz <= traffic.rate_hz:
            return "that is no overload", f"a rate above the traffic's own {traffic.rate_hz:g}/s"
        case PoisonParams() if traffic.poison_share + parse_share(step.params.share) > 1:
            own = f"{100 * traffic.poison_share:.3g}%"
            return "more than all envelopes would be poison", f"at most 100% together with the traffic's own {own}"
    return None
