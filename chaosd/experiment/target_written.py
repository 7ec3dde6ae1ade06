"""The target file as people write it: what the keys are, what may stand there, and what stands there by default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from chaosd.envelope.kinds import ErrorType
from chaosd.experiment import where
from chaosd.experiment.contract import KEY, RECORD
from chaosd.experiment.quantities import Form
from chaosd.experiment.templates import unknown
from chaosd.experiment.written import Duration, SomeDuration

PROCESSES_MAX = 16
PARTITIONS_MAX = 64
INPUTS_MAX = 8
# What the environment and the command of a service may hold; a name that ends in a dot stands for all that begin so.
PLACES = (
    "kafka", "kafka.host", "kafka.port", "kafka.jars",
    "redis", "redis.host", "redis.port", "redis.url",
    "postgres.dsn", "postgres.host", "postgres.port", "postgres.user", "postgres.password", "postgres.database",
    "python", "folder", "service", "replica", "env.",
)  # fmt: skip
DIALECTS = Literal["chaosd", "kafka-connect", "kafka-streams", "spring"]
PARTS = Literal["topic", "partition", "offset", "key", "value", "error_type", "error_class", "error_message"]


def _of(known: tuple[str, ...]) -> AfterValidator:
    def check(text: str) -> str:
        wrong = unknown(text, known)
        if wrong is not None:
            name, near = wrong
            hint = f"; did you mean ${{{near}}}?" if near else ""
            shown = ", ".join(f"${{{one}NAME}}" if one.endswith(".") else f"${{{one}}}" for one in known)
            raise ValueError(f"places that are one of {shown}; ${{{name}}} is none{hint}")
        return text

    return AfterValidator(check)


Place = Annotated[str, AfterValidator(where.check), Field(examples=["$.meta.id", "header:x-id"])]
Record = Annotated[str, _of(tuple(RECORD))]
Key = Annotated[str, _of(KEY)]
Told = Annotated[str, _of(PLACES)]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", examples=["orders"])]
ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
Partitions = Annotated[int, Field(ge=1, le=PARTITIONS_MAX, strict=True)]
# Where a pipeline has several inputs: those whose records owe a kind of results.
From = Annotated[
    TopicName | Annotated[tuple[TopicName, ...], Field(min_length=1)],
    Field(alias="from", description="The input, or a list of inputs, that must give it; all of them by default."),
]


class ReadyForm(Form):
    """How a process shows that it serves; all that is named must hold."""

    log: Told = Field(default="", description="This text is in what it wrote.")
    tcp: Told = Field(default="", pattern=r"^(|[^\s:]+:\d+)$", description="HOST:PORT takes connections.")
    http: Told = Field(default="", pattern=r"^(|http://\S+)$", description="This URL answers with 2xx.")
    consumer_group: str = Field(default="", description="This consumer group is Stable and has members.")


class RestartForm(Form):
    """It is started again when it ended by itself, as an orchestrator would."""

    after: SomeDuration = Field(description="How long after its end.")


class ServiceForm(Form):
    """A program of the pipeline."""

    command: tuple[Told, ...] = Field(min_length=1, description="Program and arguments, one by one; no shell.")
    env: dict[str, Told] = Field(
        default_factory=dict,
        description="Its environment, beside PATH, HOME, LANG and TMPDIR. Addresses of the servers, all proxied: "
        "${kafka}, ${redis.url}, ${postgres.dsn} and their parts.",
    )
    replicas: int = Field(default=1, ge=1, le=4, strict=True, description="How many processes of it.")
    ready: ReadyForm = Field(default_factory=ReadyForm)
    restart: Literal["never"] | RestartForm = Field(default="never", description="`never`, or {after: 1s}.")


class InputForm(Form):
    """The topic that the pipeline reads, and what chaosd sends there."""

    name: TopicName
    partitions: Partitions = 4
    group: str = Field(default="", description="The consumer group that reads it: its commits show what is done.")
    template: str = Field(default="", description="A file beside this one with the record's value.")
    value: Record = Field(default="", description="The record's value; places such as ${id}, ${key}, ${amount}.")
    key: Key = Field(default="${key}", description="The record's key, one for each stream.")
    headers: dict[str, Record] = Field(default_factory=dict, description="Headers of the record.")
    share: int = Field(
        default=1, ge=1, le=100, strict=True, description="Its weight in the traffic, where there are several inputs."
    )


def _how_many(value: Any) -> str:
    """Which of both forms somebody meant: only that one's errors are told."""
    return "several" if isinstance(value, list | tuple) else "one"


Inputs = Annotated[
    Annotated[InputForm, Tag("one")]
    | Annotated[tuple[InputForm, ...], Field(min_length=1, max_length=INPUTS_MAX), Tag("several")],
    Discriminator(_how_many),
]


class OutputForm(Form):
    """A kind of results: what each input must give."""

    name: TopicName
    partitions: Partitions = 4
    type: str = Field(default="", description="What tells them from others on this topic; needs `envelope.type`.")
    count: int = Field(default=1, ge=1, le=16, strict=True, description="How many for each input.")
    min: Literal[0] | None = Field(default=None, description="0: an input may give none; otherwise `count` of them.")
    key: Literal["any"] | Record = Field(default="${key}", description="Their key: `any`, or a template.")
    fields: dict[Place, Record] = Field(default_factory=dict, description="Place → what must stand there.")
    from_: From = ()


class InternalForm(Form):
    """A topic between two services."""

    name: TopicName
    partitions: Partitions = 4
    group: str = Field(
        min_length=1, description="The consumer group that reads it: the run is drained when it is done."
    )


class DlqForm(Form):
    """The dead letter topic."""

    name: TopicName
    partitions: Partitions = 1
    dialect: DIALECTS | dict[PARTS, Place] = Field(
        default="chaosd", description="How the letters say what they are about: a dialect, or where each part stands."
    )
    error_types: dict[str, ErrorType] = Field(
        default_factory=dict, description="Class of the error → its type, where a dialect carries classes."
    )


class TopicsForm(Form):
    """The pipeline's topics. chaosd makes those that are not there."""

    input: Inputs = Field(description="The topic that the pipeline reads, or a list of them.")
    output: tuple[OutputForm, ...] = Field(min_length=1)
    internal: tuple[InternalForm, ...] = ()
    dlq: DlqForm | None = None

    @property
    def inputs(self) -> tuple[InputForm, ...]:
        """The input topics in the order of the file."""
        return self.input if isinstance(self.input, tuple) else (self.input,)


class TableForm(Form):
    """Rows of a table in PostgreSQL: what each input must leave there."""

    name: str = Field(pattern=r"^[^.\s\"]+(\.[^.\s\"]+)?$", description="The table, or SCHEMA.TABLE.")
    key: str = Field(min_length=1, description="The column with the ${id} of the input; may be part of a text.")
    count: int = Field(default=1, ge=1, le=16, strict=True, description="How many rows for each input.")
    min: Literal[0] | None = Field(default=None, description="0: an input may leave none; otherwise `count` of them.")
    columns: dict[str, Record] = Field(
        default_factory=dict, description="Column → its value, as PostgreSQL writes it as text."
    )
    from_: From = ()


class EnvelopeForm(Form):
    """Where results carry their identity."""

    id: Place = Field(
        default="$.id", description="Where the ${id} of the input comes out again; may be part of a text."
    )
    type: Place | None = Field(default=None, description="Where their type stands, if types matter.")
    format: Literal["json", "cloudevents"] = Field(
        default="json", description="cloudevents: structured or binary; attributes are $.NAME, the payload is $.data."
    )
    python: str = Field(
        default="",
        pattern=r"^(|[^:]+\.py:[A-Za-z_]\w*)$",
        description="FILE.py:FUNCTION(topic, key, value, headers) → (id, type), where places cannot say it.",
    )


class ProgressForm(Form):
    """When the pipeline is done, and how long it may stand still."""

    quiet: SomeDuration | None = Field(
        default=None,
        description="It is done when nothing has come out for so long; for what no group's commits can tell.",
    )
    max_idle: Duration = Field(default=0, description="How long it may stand still by its own design.")


class TargetForm(Form):
    """The pipeline under test."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="What it is called in reports.")
    command: tuple[Told, ...] | None = Field(default=None, description="Short for one service without further keys.")
    env: dict[str, Told] = Field(default_factory=dict, description="The environment of every service.")
    services: dict[ServiceName, ServiceForm] = Field(default_factory=dict, description="Name → how it is started.")
    external: bool = Field(default=False, description="It runs already: chaosd starts nothing.")
    topics: TopicsForm
    tables: tuple[TableForm, ...] = Field(default=(), description="Tables that each input leaves rows in.")
    envelope: EnvelopeForm = Field(default_factory=EnvelopeForm)
    progress: ProgressForm = Field(default_factory=ProgressForm)
    fifo: bool = Field(default=False, description="Within an input partition, results come out in the order of inputs.")
    source: str = Field(default="", description="A file or folder beside this one that the preflight reads.")

    @model_validator(mode="after")
    def _whole(self) -> TargetForm:
        started = (self.command is not None) + bool(self.services) + self.external
        if started != 1:
            raise ValueError("one of `command`, `services` or `external: true`")
        if sum(one.replicas for one in self.services.values()) > PROCESSES_MAX:
            raise ValueError(f"at most {PROCESSES_MAX} processes")
        return self


class TargetFileForm(Form):
    """A target file."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="chaosd target")

    chaosd: Literal[1] = Field(description="The version of this format.")
    target: TargetForm
