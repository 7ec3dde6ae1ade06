"""Words that the parameters of several faults share. They stay text, as written; properties give numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, model_serializer

from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.units import format_duration, parse_bandwidth_bytes_s, parse_duration_ns, parse_size_bytes

_LONGEST_NS = 60_000 * MS
_SHORTEST_PERIOD_NS = 100 * MS
_SHORTEST_SLEEP_NS, _LONGEST_SLEEP_NS = 50 * MS, 10 * SECOND
_LARGEST_BYTES = 1_000_000_000
_US = 1_000
_KB = 1_000
FORM = "x-form"

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


def _lasts(low_ns: int, high_ns: int) -> Callable[[str], str]:
    def within(text: str) -> str:
        if not low_ns <= parse_duration_ns(text) <= high_ns:
            raise ValueError(f"a duration from {format_duration(low_ns)} to {format_duration(high_ns)}")
        return text

    return within


def _whole_us(text: str) -> str:
    duration_ns = parse_duration_ns(text)
    if duration_ns % _US or not 0 < duration_ns <= SECOND:
        raise ValueError("a duration in whole microseconds from 1us to 1s, such as 500us")
    return text


def _size(text: str) -> str:
    if parse_size_bytes(text) > _LARGEST_BYTES:
        raise ValueError("a size of at most 1000MB")
    return text


def _form(text: str) -> dict[str, JsonValue]:
    """What is accepted, in words: unit and bounds, as `chaosd faults` and docs/faults.md tell them."""
    return {FORM: text}


Delay = Annotated[
    str,
    Field(
        pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|m)\s*$",
        examples=["400ms", "1.5s"],
        json_schema_extra=_form("whole milliseconds, 0ms to 60s"),
    ),
    AfterValidator(_whole_ms),
]
Bandwidth = Annotated[
    str,
    Field(
        pattern=r"^\s*\d+(\.\d+)?\s*(B|KB|MB|KiB|MiB)/s\s*$",
        examples=["50KB/s", "1MB/s"],
        json_schema_extra=_form("whole KB/s, from 1KB/s"),
    ),
    AfterValidator(_whole_kb),
]

PieceDelay = Annotated[
    str,
    Field(
        pattern=r"^\s*\d+(\.\d+)?\s*(us|ms|s)\s*$",
        examples=["500us", "2ms"],
        json_schema_extra=_form("whole microseconds, 1us to 1s"),
    ),
    AfterValidator(_whole_us),
]
Period = Annotated[
    str,
    Field(pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|m)\s*$", examples=["500ms", "2s"], json_schema_extra=_form("100ms to 60s")),
    AfterValidator(_lasts(_SHORTEST_PERIOD_NS, _LONGEST_NS)),
]
# Short enough that a statement which has begun to sleep does not keep an undo waiting.
Sleep = Annotated[
    str,
    Field(
        pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|m)\s*$",
        examples=["300ms", "2s"],
        json_schema_extra=_form("whole milliseconds, 50ms to 10s"),
    ),
    AfterValidator(_whole_ms),
    AfterValidator(_lasts(_SHORTEST_SLEEP_NS, _LONGEST_SLEEP_NS)),
]
Size = Annotated[
    str,
    Field(
        pattern=r"^\s*\d+(\.\d+)?\s*(B|KB|MB|KiB|MiB)\s*$",
        examples=["0B", "64KB"],
        json_schema_extra=_form("0B to 1000MB"),
    ),
    AfterValidator(_size),
]

Table = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$",
        max_length=127,
        examples=["ticks", "app.orders"],
        json_schema_extra=_form("TABLE or SCHEMA.TABLE"),
    ),
]


class Params(BaseModel):
    """What an experiment says about one fault. Unknown keys are an error."""

    # Built when first used: who heals needs one of fifty, and at once.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class NoParams(Params):
    """A fault with nothing to choose."""


class _Ramp(Params):
    """A parameter that moves while the fault is in force: from one value to another, evenly."""

    @model_serializer
    def _as_written(self) -> dict[str, str]:
        return {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}


class RampOfDelay(_Ramp):
    """A delay that moves."""

    from_: Delay = Field(alias="from", description="At the beginning.")
    to: Delay = Field(description="At the end.")


class RampOfBandwidth(_Ramp):
    """A bandwidth that moves."""

    from_: Bandwidth = Field(alias="from", description="At the beginning.")
    to: Bandwidth = Field(description="At the end.")


def _which(value: Any) -> str:
    """Which of both forms somebody meant: only that one's errors are told."""
    return "moving" if isinstance(value, dict | _Ramp) else "still"


RampingDelay = Annotated[Annotated[Delay, Tag("still")] | Annotated[RampOfDelay, Tag("moving")], Discriminator(_which)]
RampingBandwidth = Annotated[
    Annotated[Bandwidth, Tag("still")] | Annotated[RampOfBandwidth, Tag("moving")], Discriminator(_which)
]


def ends(value: str | RampOfDelay | RampOfBandwidth) -> tuple[str, str]:
    """What a parameter is at the beginning and at the end: the same, unless it moves."""
    return (value, value) if isinstance(value, str) else (value.from_, value.to)


def streams(direction: Direction) -> tuple[str, ...]:
    """The streams of Toxiproxy that a direction names: upstream is client → server, downstream server → client."""
    return ("upstream", "downstream") if direction == "both" else (direction,)


def delay_ms(text: str) -> int:
    """Milliseconds of a Delay."""
    return parse_duration_ns(text) // MS


def bandwidth_kb_s(text: str) -> int:
    """KB a second of a Bandwidth, 1 KB = 1000 B."""
    return parse_bandwidth_bytes_s(text) // _KB


def period_s(text: str) -> float:
    """Seconds of a Period."""
    return parse_duration_ns(text) / SECOND


def delay_us(text: str) -> int:
    """Microseconds of a PieceDelay."""
    return parse_duration_ns(text) // _US


def size_bytes(text: str) -> int:
    """Bytes of a Size."""
    return parse_size_bytes(text)
