"""The operator's file: whom chaosd may break things on besides this machine, and how much at once, in all experiments.

It is the operator's and not the experiments': what is written here needs access to this user's configuration, which an
experiment file that came with a repository does not have. Every surface and every conductor reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from chaosd.experiment import document
from chaosd.experiment.limits import DEFAULT, Limits, LimitsForm
from chaosd.experiment.problems import one_error, validate
from chaosd.experiment.schema import schema_of
from chaosd.kernel.errors import SourceError

VARIABLE = "CHAOSD_OPERATOR"
_FILE = "operator.yaml"


@dataclass(frozen=True, slots=True)
class Operator:
    """`allow_hosts` may be broken although they are not this machine; `limits` bind every experiment."""

    allow_hosts: tuple[str, ...] = ()
    limits: Limits = DEFAULT


class OperatorForm(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="chaosd operator")

    chaosd: Literal[1] = Field(description="The version of this format.")
    allow_hosts: tuple[str, ...] = Field(default=(), description="Hosts that may be broken besides this machine.")
    limits: LimitsForm = Field(default_factory=LimitsForm)


def place() -> Path:
    """CHAOSD_OPERATOR, or the file in the user's configuration folder."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else platformdirs.user_config_path("chaosd") / _FILE


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file."""
    return schema_of(OperatorForm)


def read() -> Operator:
    """The operator's word; where there is no file, this machine only and the default limits.

    Raises UsageError for a file that was named and cannot be read, SourceError for one that is wrong.
    """
    path = place()
    if VARIABLE not in os.environ and not path.exists():
        return Operator()
    source = document.read(path)
    problems: list[SourceError] = []
    form = validate(source, OperatorForm, source.plain, (), problems)
    if form is None:
        raise one_error(problems)
    return Operator(form.allow_hosts, form.limits.resolve(str(path)))
