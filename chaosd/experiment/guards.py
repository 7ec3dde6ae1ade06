"""`abort_when` of an experiment: what ends a run before its time, healed. Forms of what people write, and their values.

A guard protects what the run happens to, and says nothing about the pipeline: a run that it ends proves only what its
journal shows until then, and exits with 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from chaosd.experiment.quantities import Form, SomeShare, some_ns, text
from chaosd.kernel.clock import SECOND
from chaosd.kernel.units import format_duration, parse_size_bytes

_PROBES_MAX = 8
_WORDS_MAX = 64
_LONGEST_NS = 600 * SECOND


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """More than the share `above` of the results within the last `over_ns` were errors that nobody planned."""

    above: float
    over_ns: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A program that must end with 0: `failures` times in a row it did not, or not within `timeout_ns`."""

    command: tuple[str, ...]
    every_ns: int
    timeout_ns: int
    failures: int


@dataclass(frozen=True, slots=True)
class Guards:
    """What ends a run: the age of the oldest due envelope, errors, the target's memory (RSS), programs of the user's.

    None (or no probe) where the experiment sets no such limit.
    """

    age_ns: int | None = None
    error_rate: ErrorRate | None = None
    target_rss_bytes: int | None = None
    probes: tuple[Probe, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """JSON values, those that are set; part of the fact `run_started`."""
        told: dict[str, Any] = {}
        if self.age_ns is not None:
            told["age_ns"] = self.age_ns
        if self.error_rate is not None:
            told["error_rate"] = {"above": self.error_rate.above, "over_ns": self.error_rate.over_ns}
        if self.target_rss_bytes is not None:
            told["target_rss_bytes"] = self.target_rss_bytes
        if self.probes:
            told["probes"] = [
                {
                    "command": list(probe.command),
                    "every_ns": probe.every_ns,
                    "timeout_ns": probe.timeout_ns,
                    "failures": probe.failures,
                }
                for probe in self.probes
            ]
        return told

    def lines(self) -> list[str]:
        """Each guard in words, for people."""
        found = []
        if self.age_ns is not None:
            found.append(f"the oldest due envelope is older than {format_duration(self.age_ns)}")
        if self.error_rate is not None:
            over = format_duration(self.error_rate.over_ns)
            found.append(f"more than {100 * self.error_rate.above:g}% of the results of {over} are unplanned errors")
        if self.target_rss_bytes is not None:
            found.append(f"the target uses more than {self.target_rss_bytes / 1e6:g} MB")
        for probe in self.probes:
            every, limit = format_duration(probe.every_ns), format_duration(probe.timeout_ns)
            times = f"{probe.failures} times in a row" if probe.failures > 1 else "once"
            found.append(f"`{' '.join(probe.command)}` fails {times} (every {every}, at most {limit} each)")
        return found


NO_GUARDS = Guards()


def _some_bytes(value: object) -> int:
    size = parse_size_bytes(value)
    if size == 0:
        raise ValueError("a size above 0MB")
    return size


_Duration = Annotated[int, some_ns(_LONGEST_NS), text(r"^\d+(\.\d+)?\s*(ns|us|ms|s|m)$", "500ms", "30s")]
_Size = Annotated[int, BeforeValidator(_some_bytes), text(r"^\d+(\.\d+)?\s*(B|KB|MB|KiB|MiB)$", "600MB")]
_Word = Annotated[str, Field(min_length=1, strict=True, description="One argument, never a line for a shell.")]


class ErrorRateForm(Form):
    """Too many results are errors that nobody planned; planned poison does not count."""

    above: SomeShare = Field(description="The share of results that may be unplanned errors.")
    over: _Duration = Field(default=5 * SECOND, description="The time over which it is counted. Default: 5s.")


class ProbeForm(Form):
    """A program of yours that says whether the run may go on: exit code 0 is yes."""

    command: tuple[_Word, ...] = Field(
        min_length=1, max_length=_WORDS_MAX, description="Program and arguments, as a list: no shell reads it."
    )
    every: _Duration = Field(default=2 * SECOND, description="The pause between two calls. Default: 2s.")
    timeout: _Duration = Field(default=SECOND, description="One call may take so long, then it is killed. Default: 1s.")
    failures: int = Field(default=1, ge=1, le=100, strict=True, description="So many in a row end the run. Default: 1.")


class GuardsForm(Form):
    """What ends the run at once: everything is healed, and it exits with 5."""

    age: _Duration | None = Field(default=None, description="The oldest envelope that is due and has no result.")
    error_rate: ErrorRateForm | None = None
    target_rss: _Size | None = Field(default=None, description="Memory (RSS) of the target and its children.")
    probes: tuple[ProbeForm, ...] = Field(default=(), max_length=_PROBES_MAX)

    def resolve(self) -> Guards:
        """The value."""
        rate = self.error_rate
        return Guards(
            age_ns=self.age,
            error_rate=ErrorRate(rate.above, rate.over) if rate is not None else None,
            target_rss_bytes=self.target_rss,
            probes=tuple(Probe(one.command, one.every, one.timeout, one.failures) for one in self.probes),
        )
