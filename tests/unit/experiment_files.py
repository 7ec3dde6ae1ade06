"""Experiment files for tests of the parser: a small catalogue of faults, and files around one timeline."""

from __future__ import annotations

import textwrap
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chaosd.experiment import document
from chaosd.experiment.parse import resolve
from chaosd.experiment.spec import Experiment, FaultForm
from chaosd.kernel.errors import SourceError
from chaosd.kernel.units import parse_duration_ns


def whole(text: str) -> str:
    parse_duration_ns(text)
    return text


class Late(BaseModel):
    model_config = ConfigDict(extra="forbid")
    latency: Annotated[str, Field(examples=["400ms"]), AfterValidator(whole)]
    direction: Literal["upstream", "downstream", "both"] = "downstream"


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


NETWORK = ("redis", "kafka", "postgres")
FAULTS = {
    "latency": FaultForm("latency", Late, NETWORK, "proxy"),
    "down": FaultForm("down", Nothing, NETWORK, "proxy", ("the switch",)),
    "flap": FaultForm("flap", Nothing, NETWORK, "proxy", ("the switch",)),
    "restart": FaultForm("restart", Nothing, (*NETWORK, "target"), "restart"),
    "kill": FaultForm("kill", Nothing, (*NETWORK, "target"), "restart"),
    "pause": FaultForm("pause", Nothing, (*NETWORK, "target"), "restart"),
    "quota": FaultForm("quota", Nothing, ("kafka",), "admin"),
    "refusal": FaultForm("refusal", Nothing, NETWORK, "admin", keeps_out=True),
    "flush": FaultForm("flush", Nothing, ("redis",), "own"),
}
STEP = "{at: 0s, for: 4s, fault: down, on: redis}"
REPEATED = "{{at: 0s, for: 1s, fault: down, repeat: {{{}}}, on: redis}}"


def file(timeline: str = STEP, more: str = "", head: str = "chaosd: 1\ntitle: t") -> str:
    steps = "\n".join(f"  - {line}" for line in timeline.splitlines())
    return f"{head}\n{textwrap.dedent(more)}\ntimeline:\n{steps}\n" if timeline else f"{head}\n{more}\ntimeline: []\n"


def parse(text: str, profile: str = "standard", targets=(), seed: int = 0) -> Experiment:
    return resolve(document.parse(text, "x.yaml"), FAULTS, name="x", profile=profile, targets=targets, seed=seed)


def refused(text: str, **arguments) -> str:
    with pytest.raises(SourceError) as caught:
        parse(text, **arguments)
    return caught.value.message
