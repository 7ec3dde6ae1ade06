"""How much may be broken: at once, for how long, and of a cluster. Checked on the timeline, before anything starts.

The operator sets limits for all experiments (chaosd/conductor/operator.py), an experiment may set tighter ones for
itself under `limits`. It can never loosen the operator's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field

from chaosd.experiment.quantities import Form, SomeShare, some_ns, text
from chaosd.experiment.timeline import Placed
from chaosd.kernel import names
from chaosd.kernel.clock import SECOND
from chaosd.kernel.units import format_duration

_KAFKA = "kafka"
_LONGEST_NS = 3_600 * SECOND
_DEFAULT = "the default"
_OWN = "limits of this experiment"


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so many faults at once, none for longer than `fault_lasts_ns`, at most this share of brokers hit at once.

    One broker may always be hit: a share of one broker would be none. `set_by` says who set a limit, by its name.
    """

    faults_at_once: int = 8
    fault_lasts_ns: int = 600 * SECOND
    brokers: float = 1.0
    set_by: tuple[tuple[str, str], ...] = ()

    def who(self, name: str) -> str:
        """Who set a limit."""
        return dict(self.set_by).get(name, _DEFAULT)

    def tightened(self, form: LimitsForm) -> Limits:
        """These limits and an experiment's own, whichever is tighter."""
        own: dict[str, Any] = {}
        by = dict(self.set_by)
        for name, value in form.given():
            if value < getattr(self, name):
                own[name], by[name] = value, _OWN
        return replace(self, **own, set_by=tuple(by.items()))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "faults_at_once": self.faults_at_once,
            "fault_lasts_ns": self.fault_lasts_ns,
            "brokers": self.brokers,
            "set_by": dict(self.set_by),
        }


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Excess:
    """A line that goes beyond a limit: its number, what is wrong, what is allowed, and what to do about it."""

    line: int
    problem: str
    expected: str
    remedy: str = field(default="")


def excesses(steps: Sequence[Placed], limits: Limits, brokers: int) -> Iterator[Excess]:
    """Every line that goes beyond a limit, once for each limit. `brokers`: how many the stack has.

    What is drawn counts with all that any seed could make of it; overlays break nothing and do not count.
    """
    told: set[tuple[int, str]] = set()
    faults = [placed for placed in steps if not placed.step.overlay]
    for placed in faults:
        for name, excess in _of(placed, faults, limits, brokers):
            if (placed.line, name) not in told:
                told.add((placed.line, name))
                yield excess


def _of(placed: Placed, faults: Sequence[Placed], limits: Limits, brokers: int) -> Iterator[tuple[str, Excess]]:
    step, lasts_ns = placed.step, placed.when.longest_ns
    if lasts_ns > limits.fault_lasts_ns:
        yield "lasts", _excess(
            placed.line, limits, "fault_lasts_ns", f"{step.fault} on {step.on} lasts {format_duration(lasts_ns)}",
            f"at most {format_duration(limits.fault_lasts_ns)}", "shorten it",
        )  # fmt: skip
    together = [other for other in faults if other is placed or _at_its_begin(other, placed)]
    # Told at the step that was one too many, in order of time.
    if len(together) > limits.faults_at_once and placed is max(together, key=lambda other: other.when.earliest_ns):
        what = ", ".join(f"{other.step.fault} on {other.step.on}" for other in together)
        yield "at once", _excess(
            placed.line, limits, "faults_at_once", f"{len(together)} faults at once: {what}",
            f"at most {limits.faults_at_once}", "spread them over time",
        )  # fmt: skip
    hit = {name for other in together for name in _brokers(other.step.on, brokers)}
    allowed = max(1, int(limits.brokers * brokers + 1e-9))
    if len(hit) > allowed and _brokers(step.on, brokers):
        yield "brokers", _excess(
            placed.line, limits, "brokers", f"{len(hit)} of {brokers} brokers are hit at once",
            f"at most {allowed} of {brokers} ({100 * limits.brokers:g}%)", "hit fewer, as `on: kafka/1` does",
        )  # fmt: skip


def _at_its_begin(other: Placed, placed: Placed) -> bool:
    """Whether the other may be in force when this one begins. Repetitions of one line never overlap."""
    last_begin_ns = placed.when.latest_ns - placed.when.longest_ns
    return other.line != placed.line and (
        other.when.earliest_ns <= last_begin_ns and placed.when.earliest_ns <= other.when.latest_ns
    )


def _brokers(on: str, brokers: int) -> tuple[str, ...]:
    return names.members(names.numbered(_KAFKA, range(1, brokers + 1)), on) if names.kind(on) == _KAFKA else ()


def _excess(line: int, limits: Limits, name: str, problem: str, expected: str, remedy: str) -> Excess:
    key = name.removesuffix("_ns")
    who = limits.who(name)
    raised = f"{remedy}, or raise `{key}`" + ("" if who == _OWN else " in the operator's file (docs/safety.md)")
    return Excess(line, problem, f"{expected} (limit {key}, {who})", raised)


_Duration = Annotated[int, some_ns(_LONGEST_NS), text(r"^\d+(\.\d+)?\s*(ms|s|m)$", "30s", "10m")]


class LimitsForm(Form):
    """How much may be broken."""

    faults_at_once: Annotated[int, Field(ge=1, le=100, strict=True)] | None = Field(
        default=None, description="Faults that may be in force at the same time. Default: 8."
    )
    fault_lasts: _Duration | None = Field(default=None, description="How long one fault may last. Default: 10m.")
    brokers: SomeShare | None = Field(
        default=None, description="The share of a cluster's brokers that may be hit at once. Default: 100%."
    )

    def given(self) -> Iterator[tuple[str, int | float]]:
        """The limits that are set, by the names of Limits."""
        for name, value in (
            ("faults_at_once", self.faults_at_once),
            ("fault_lasts_ns", self.fault_lasts),
            ("brokers", self.brokers),
        ):
            if value is not None:
                yield name, value

    def resolve(self, by: str) -> Limits:
        """The operator's limits, the defaults where nothing is said."""
        own: dict[str, Any] = dict(self.given())
        return Limits(**own, set_by=tuple((name, by) for name in own))
