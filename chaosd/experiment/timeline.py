"""The timeline of an experiment: its steps as data, and what cannot be done at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from chaosd.kernel import names
from chaosd.kernel.units import format_duration

# Faults that end or stop a process, by the capability they need of the stack.
_OF_PROCESSES = "restart"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline. `at_ns` counts from the end of the baseline; the fault is in force for `for_ns`.

    `id` is unique in its experiment, `on` is a part of the stack or `target` (of several, all of them or one:
    `kafka/2`, `target/0`), `params` is what the fault's own model made of the rest of the line, `needs` the capability
    that the stack must have, `claims` what the fault needs for itself.
    """

    id: str
    at_ns: int
    for_ns: int
    fault: str
    on: str
    needs: str
    params: BaseModel
    claims: tuple[str, ...] = ()

    @property
    def until_ns(self) -> int:
        """When the fault is to be undone."""
        return self.at_ns + self.for_ns

    def to_json(self) -> dict[str, Any]:
        """JSON values only; `params` as its model writes them."""
        return {
            "id": self.id,
            "at_ns": self.at_ns,
            "for_ns": self.for_ns,
            "fault": self.fault,
            "on": self.on,
            "params": self.params.model_dump(mode="json"),
        }


@dataclass(frozen=True, slots=True)
class Clash:
    """Two steps that cannot both be done: the index of the later one as written, and what to say about it."""

    index: int
    problem: str
    expected: str


def lasts_ns(steps: Iterable[Step]) -> int:
    """From the end of the baseline to the last planned heal."""
    return max((step.until_ns for step in steps), default=0)


def clashes(steps: Sequence[Step]) -> Iterator[Clash]:
    """Every step that cannot be done beside one written before it.

    The same fault twice on one thing at a time would be one fault with two undos; two faults of one process at a time
    would pause or end what is not there. All else may overlap: latency on a part that restarts is an honest day.
    """
    for index, step in enumerate(steps):
        for earlier in steps[:index]:
            if names.touch(earlier.on, step.on) and _overlap(earlier, step) and (why := _impossible(earlier, step)):
                span = f"{earlier.fault} from {_span(earlier)}"
                yield Clash(
                    index,
                    f"{why} on {step.on} at the same time: {span}, {step.fault} from {_span(step)}",
                    f"steps on {step.on} one after the other",
                )
                break


def _overlap(one: Step, other: Step) -> bool:
    # Both ends count: a heal and an injection at one moment would race.
    return one.at_ns <= other.until_ns and other.at_ns <= one.until_ns


def _impossible(one: Step, other: Step) -> str:
    if one.fault == other.fault:
        return f"{one.fault} twice"
    if one.needs == other.needs == _OF_PROCESSES:
        return "two faults of one process"
    if shared := [claim for claim in one.claims if claim in other.claims]:
        return f"two faults that need {shared[0]}"
    return ""


def _span(step: Step) -> str:
    return f"{format_duration(step.at_ns)} to {format_duration(step.until_ns)}"
