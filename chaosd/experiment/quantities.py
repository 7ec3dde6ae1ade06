"""Quantities that several sections of the files take: numbers as soon as they are read, text in the JSON Schema."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from chaosd.kernel.units import format_duration, parse_duration_ns, parse_share


class Form(BaseModel):
    """A mapping of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def text(pattern: str, *examples: str) -> WithJsonSchema:
    """What stands in the file: text of this form."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


def some_ns(longest_ns: int) -> BeforeValidator:
    """A duration that is more than nothing, in nanoseconds."""

    def read(value: object) -> int:
        duration_ns = parse_duration_ns(value)
        if not 0 < duration_ns <= longest_ns:
            raise ValueError(f"a duration above 0s and of at most {format_duration(longest_ns)}")
        return duration_ns

    return BeforeValidator(read)


def _some_share(value: object) -> float:
    share = parse_share(value)
    if share == 0:
        raise ValueError("a share above 0%")
    return share


SHARE_PATTERN = r"^\d+(\.\d+)?\s*%$"
SomeShare = Annotated[float, BeforeValidator(_some_share), text(SHARE_PATTERN, "20%")]
