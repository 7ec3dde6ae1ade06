"""The experiment file as people write it: what the keys are, what may stand there, and what stands there by default.

Quantities are numbers as soon as they are read (nanoseconds, hertz, shares); JSON Schema shows them as the text they
are in the file. Unknown keys are an error everywhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from chaosd.envelope.poison import KINDS
from chaosd.experiment.guards import GuardsForm
from chaosd.experiment.limits import LimitsForm
from chaosd.experiment.quantities import SHARE_PATTERN, Form, some_ns, text
from chaosd.experiment.spec import Expect, Known, Recovery, Resources, Traffic
from chaosd.experiment.windows import LONGEST_NS, TIMES_MAX, Span, parse_span
from chaosd.kernel.clock import SECOND
from chaosd.kernel.units import format_duration, parse_duration_ns, parse_rate_hz, parse_share

_RATE_HZ_MAX = 50_000.0
_SHARE_ALL = 1.0
BROKERS_MAX = 3
REPLICAS_MAX = 4

# Classes of anomaly as verdict.json names them (docs/verification.md).
Class = Literal[
    "LOST", "MISSING-ERROR", "UNSEEN", "STUCK", "VANISHED", "RESURRECTED", "PHANTOM", "UNIDENTIFIED", "DUP-ID",
    "DUP-OFFSET", "REORDERED", "CORRUPT", "MISROUTED", "DOUBLE-OUTCOME", "WRONG-ERROR", "UNEXPECTED-ERROR",
    "SLOW-RECOVERY", "SLOW", "LEAK", "BACKLOG", "DEGRADED", "EXHAUSTED", "BAD-REPLAY",
]  # fmt: skip


def _duration_ns(value: object) -> int:
    duration_ns = parse_duration_ns(value)
    if duration_ns > LONGEST_NS:
        raise ValueError(f"a duration of at most {format_duration(LONGEST_NS)}")
    return duration_ns


def _rate_hz(value: object) -> float:
    rate_hz = parse_rate_hz(value)
    if not 0 < rate_hz <= _RATE_HZ_MAX:
        raise ValueError(f"a rate above 0/s and of at most {_RATE_HZ_MAX:.0f}/s")
    return rate_hz


def _poison(value: object) -> dict[str, float]:
    """`2%` is spread evenly over all kinds; a mapping gives each kind its own share."""
    if isinstance(value, dict):
        shares = {str(kind): parse_share(share) for kind, share in value.items()}
    else:
        whole = parse_share(value)
        shares = {kind: whole / len(KINDS) for kind in KINDS}
    if sum(shares.values()) > _SHARE_ALL:
        raise ValueError("shares that add up to at most 100%")
    return {kind: share for kind, share in shares.items() if share > 0}


_DURATION_PATTERN = r"^\d+(\.\d+)?\s*(ns|us|ms|s|m|h)$"
_DURATION_TEXT = text(_DURATION_PATTERN, "400ms", "5s", "2m")
Duration = Annotated[int, BeforeValidator(_duration_ns), _DURATION_TEXT]
SomeDuration = Annotated[int, some_ns(LONGEST_NS), _DURATION_TEXT]
Rate = Annotated[float, BeforeValidator(_rate_hz), text(r"^\d+(\.\d+)?\s*/(s|m)$", "500/s", "30/m")]
_KIND_SHARES = {kind: {"type": "string", "pattern": SHARE_PATTERN} for kind in KINDS}
Poison = Annotated[
    dict[Literal["not_json", "field_missing", "wrong_type", "unknown_enum", "oversized", "wrong_encoding"], float],
    BeforeValidator(_poison),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": SHARE_PATTERN, "examples": ["2%"]},
                {"type": "object", "properties": _KIND_SHARES, "additionalProperties": False},
            ]
        }
    ),
]


_WINDOW = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
Moment = Annotated[
    Span,
    PlainValidator(parse_span),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _DURATION_PATTERN, "examples": ["400ms", "5s"]},
                {
                    "type": "object",
                    "description": "Drawn from the seed.",
                    "properties": {"between": _WINDOW},
                    "required": ["between"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class TrafficForm(Form):
    """What is sent, whatever the pipeline does: open loop."""

    rate: Rate = Field(default=500.0, description="Envelopes a second, over all streams. Default: 500/s.")
    streams: int = Field(default=4, ge=1, le=1024, strict=True, description="Each stream is one key, kept in order.")
    poison: Poison = Field(
        default_factory=dict,
        description="The share of envelopes that the pipeline must refuse: `2%` over all kinds, or a share for each.",
    )

    def resolve(self) -> Traffic:
        """The value."""
        return Traffic(self.rate, self.streams, tuple(self.poison.items()))


class PhasesForm(Form):
    """How long the phases around the faults last. The profile's lengths where nothing is said."""

    warmup: Duration | None = Field(default=None, description="Traffic before anything is measured.")
    baseline: SomeDuration | None = Field(default=None, description="How the pipeline is without a fault.")
    hold: SomeDuration | None = Field(default=None, description="How long it must stay recovered.")


class RepeatForm(Form):
    """A step that is done again and again."""

    every: Moment = Field(description="From one begin to the next.")
    times: int | None = Field(default=None, ge=2, le=TIMES_MAX, strict=True, description="How often in all.")
    until: Duration | None = Field(default=None, description="None begins from here on, from the end of the baseline.")


class StepForm(BaseModel):
    """One line of the timeline. Further keys are the parameters of its fault."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: Moment = Field(description="When the fault begins, from the end of the baseline.")
    for_: Moment | None = Field(
        default=None,
        alias="for",
        description="How long it is in force; of restart and kill: how long the process stays down (default 0s).",
    )
    repeat: RepeatForm | None = Field(default=None, description="Again and again: {every: 5s, times: 3}.")
    fault: str = Field(description="What is done.")
    on: str = Field(
        default="",
        description="To whom: a part of the stack (`kafka/1`: one broker of a cluster), `target`, or "
        "`target.NAME`: one service of several. An overlay of the traffic needs none.",
    )
    replica: int | None = Field(
        default=None, ge=0, strict=True, description="Which replica of the target, from 0; all of them by default."
    )

    @property
    def params(self) -> dict[str, Any]:
        """What is not a key of every step."""
        return dict(self.model_extra or {})


class RecoveryForm(Form):
    """The recovery time is from the heal (or the injection) until latency is what it was before, and stays so."""

    within: SomeDuration = Field(default=5 * SECOND, description="The limit. Default: 5s.")
    from_: Literal["heal", "inject"] = Field(
        default="heal", alias="from", description="`inject` for faults that the service should survive."
    )
    threshold: SomeDuration | None = Field(
        default=None, description="A cap for the latency that counts as recovered; by default only the baseline says."
    )


class LatencyForm(Form):
    """Limits of latency; judged over all envelopes, never for one."""

    p99_outside_faults: SomeDuration | None = Field(default=None, description="99 of 100 are quicker than that.")


class ResourcesForm(Form):
    """What the pipeline may use, judged in calm times. Ask only in runs with half a minute of them: shorter ones do not
    tell, and are inconclusive then.
    """

    leak: Literal["none", "not_judged"] = Field(
        default="not_judged", description="`none`: its memory, files and connections do not grow."
    )
    queue: Literal["bounded", "not_judged"] = Field(
        default="not_judged", description="`bounded`: what it has not committed yet does not grow."
    )
    latency: Literal["as_before", "not_judged"] = Field(
        default="not_judged", description="`as_before`: after the faults the median latency is that of the baseline."
    )
    connections: int | None = Field(
        default=None, ge=1, strict=True, description="The most connections at once to one part. Default: no limit."
    )

    def resolve(self) -> Resources:
        """The value."""
        return Resources(self.leak, self.queue, self.latency, self.connections)


class ExpectForm(Form):
    """What the judge holds the pipeline to."""

    recovery: RecoveryForm = Field(default_factory=RecoveryForm)
    loss: Literal["none", "not_judged"] = "none"
    duplicates: Literal["none", "allowed_during_faults", "allowed"] = "allowed_during_faults"
    order: Literal["per_key", "per_key_outside_faults", "any"] = "per_key"
    system_errors: Literal["exact", "allowed_during_faults"] = "exact"
    latency: LatencyForm = Field(default_factory=LatencyForm)
    resources: ResourcesForm = Field(default_factory=ResourcesForm)

    def resolve(self) -> Expect:
        """The value."""
        return Expect(
            recovery=Recovery(self.recovery.within, self.recovery.from_, self.recovery.threshold),
            loss=self.loss,
            duplicates=self.duplicates,
            order=self.order,
            system_errors=self.system_errors,
            latency_p99_outside_faults_ns=self.latency.p99_outside_faults,
            resources=self.resources.resolve(),
        )


class KnownForm(Form):
    """A documented failure: the run exits 0 when it fails with exactly these classes, and only then."""

    verdict: Literal["FAIL"]
    classes: tuple[Class, ...] = Field(min_length=1)
    why: str = ""

    def resolve(self) -> Known:
        """The value."""
        return Known(self.verdict, self.classes, self.why)


class KafkaForm(Form):
    """Kafka, as this experiment needs it."""

    brokers: Literal[1, 3] = Field(
        default=1, description="3: a cluster, every topic on all three brokers, two of which must have each record."
    )


class StackForm(Form):
    """The servers, as this experiment needs them."""

    kafka: KafkaForm = Field(default_factory=KafkaForm)


class ExperimentForm(Form):
    """One experiment."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="chaosd experiment")

    chaosd: Literal[1] = Field(description="The version of this format.")
    title: str = Field(min_length=1, max_length=120, description="What happens, in one line.")
    description: str = Field(default="", description="What the pipeline must do about it, and why it matters.")
    tags: tuple[str, ...] = ()
    target: str = Field(default="reference", description="The pipeline under test.")
    replicas: int = Field(
        default=1, ge=1, le=REPLICAS_MAX, strict=True, description="Processes of the target, in one consumer group."
    )
    stack: StackForm = Field(default_factory=StackForm)
    traffic: TrafficForm = Field(default_factory=TrafficForm)
    phases: PhasesForm = Field(default_factory=PhasesForm)
    timeline: tuple[StepForm, ...] = Field(description="The faults; an empty list is a control without any.")
    replay: Literal["dlq"] | None = Field(
        default=None,
        description="`dlq`: after the last heal, when all is quiet, the originals of the dead letters are sent again; "
        "each must give its result once, and none may come back.",
    )
    expect: ExpectForm = Field(default_factory=ExpectForm)
    known: KnownForm | None = None
    limits: LimitsForm = Field(default_factory=LimitsForm, description="Tighter limits than the operator's.")
    abort_when: GuardsForm = Field(default_factory=GuardsForm, description="What ends the run before its time.")
