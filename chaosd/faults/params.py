"""Words that the parameters of several faults share. They stay text, as written; properties give numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chaosd.kernel.clock import MS
from chaosd.kernel.units import parse_bandwidth_bytes_s, parse_duration_ns

_LONGEST_NS = 60_000 * MS
_KB = 1_000

Direction = Literal["upstream", "downstream", "both"]


def _whole_ms(text: str) -> str:
    duration_ns = parse_duration_ns(text)
    if duration_ns % MS:
        raise ValueError("a duration in whole milliseconds, such as 400ms")
    if duration_ns > _LONGEST_NS:
        raise ValueError("a duration of at most 60s")
    return text


def _whole_kb(text: str) -> str:
    rate = parse_bandwidth_bytes_s(text)
    if rate < _KB or rate % _KB:
        raise ValueError("a bandwidth in whole KB/s (1 KB = 1000 B) from 1KB/s, such as 100KB/s")
    return text


Delay = Annotated[
    str,
    Field(pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|m)\s*$", examples=["400ms", "1.5s"]),
    AfterValidator(_whole_ms),
]
Bandwidth = Annotated[
    str,
    Field(pattern=r"^\s*\d+(\.\d+)?\s*(B|KB|MB|KiB|MiB)/s\s*$", examples=["50KB/s", "1MB/s"]),
    AfterValidator(_whole_kb),
]


class Params(BaseModel):
    """What an experiment says about one fault. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParams(Params):
    """A fault with nothing to choose."""


def streams(direction: Direction) -> tuple[str, ...]:
    """The streams of Toxiproxy that a direction names: upstream is client → server, downstream server → client."""
    return ("upstream", "downstream") if direction == "both" else (direction,)


def delay_ms(text: str) -> int:
    """Milliseconds of a Delay."""
    return parse_duration_ns(text) // MS


def bandwidth_kb_s(text: str) -> int:
    """KB a second of a Bandwidth, 1 KB = 1000 B."""
    return parse_bandwidth_bytes_s(text) // _KB
