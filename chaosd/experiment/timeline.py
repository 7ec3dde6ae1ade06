"""The timeline of an experiment: its steps as data, and what cannot be done at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from chaosd.experiment.windows import Occurrence
from chaosd.kernel import names
from chaosd.kernel.units import format_duration

# What overlays are `on`: the run's own traffic.
TRAFFIC = "traffic"
# Faults that end or stop a process, by the capability they need of the stack.
_OF_PROCESSES = "restart"
# Faults by the server's own means: chaosd logs in to it to begin them and to end them.
_BY_SESSION = ("admin", "own")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline. `at_ns` counts from the end of the baseline; the fault is in force for `for_ns`.

    `id` is unique in its experiment, `on` is a part of the stack or `target` (of several, all of them or one:
    `kafka/2`, `target/0`, `target/billing`), `params` is what the fault's own model made of the rest of the line,
    `needs` the capability that the stack must have, `claims` what the fault needs for itself, `keeps_out` whether
    nobody can log in while it is in force, `drawn` the keys of its line that the seed decided.
    """

    id: str
    at_ns: int
    for_ns: int
    fault: str
    on: str
    needs: str
    params: BaseModel
    claims: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    keeps_out: bool = False

    @property
    def until_ns(self) -> int:
        """When the fault is to be undone."""
        return self.at_ns + self.for_ns

    @property
    def overlay(self) -> bool:
        """Whether it is laid over the traffic, and breaks nothing."""
        return self.on == TRAFFIC

    def to_json(self) -> dict[str, Any]:
        """JSON values only; `params` as its model writes them."""
        return {
            "id": self.id,
            "at_ns": self.at_ns,
            "for_ns": self.for_ns,
            "fault": self.fault,
            "on": self.on,
            "params": self.params.model_dump(mode="json"),
            "drawn": list(self.drawn),
        }


@dataclass(frozen=True, slots=True)
class Placed:
    """A step with the line of the file that it comes from, and when it may happen, whatever the seed."""

    step: Step
    line: int
    when: Occurrence


@dataclass(frozen=True, slots=True)
class Clash:
    """Two steps that cannot both be done: the line of the later one as written, and what to say about it."""

    line: int
    problem: str
    expected: str


def lasts_ns(steps: Iterable[Step]) -> int:
    """From the end of the baseline to the last planned heal."""
    return max((step.until_ns for step in steps), default=0)


def clashes(steps: Sequence[Placed]) -> Iterator[Clash]:
    """Every line that cannot be done beside one written before it.

    The same fault twice on one thing at a time would be one fault with two undos; two faults of one process at a time
    would pause or end what is not there; a server that lets nobody in would not let chaosd in either. All else may
    overlap: latency on a part that restarts is an honest day. What is drawn counts with the whole window that it is
    drawn from: no seed may make an experiment impossible.
    """
    told: set[int] = set()
    for index, placed in enumerate(steps):
        for earlier in steps[:index]:
            if placed.line in told or earlier.line == placed.line or not names.touch(earlier.step.on, placed.step.on):
                continue
            if _overlap(earlier.when, placed.when) and (why := _impossible(earlier.step, placed.step)):
                told.add(placed.line)
                on = placed.step.on
                span = f"{earlier.step.fault} from {_span(earlier.when)}"
                yield Clash(
                    placed.line,
                    f"{why} on {on} at the same time: {span}, {placed.step.fault} from {_span(placed.when)}",
                    f"steps on {on} one after the other",
                )


def _overlap(one: Occurrence, other: Occurrence) -> bool:
    # Both ends count: a heal and an injection at one moment would race.
    return one.earliest_ns <= other.latest_ns and other.earliest_ns <= one.latest_ns


def _impossible(one: Step, other: Step) -> str:
    if one.fault == other.fault:
        return f"{one.fault} twice"
    if one.needs == other.needs == _OF_PROCESSES:
        return "two faults of one process"
    if any(inside.keeps_out and comes.needs in _BY_SESSION for inside, comes in ((one, other), (other, one))):
        return "a fault that lets nobody in, and one for which chaosd must log in,"
    if shared := [claim for claim in one.claims if claim in other.claims]:
        return f"two faults that need {shared[0]}"
    return ""


def _span(when: Occurrence) -> str:
    return f"{format_duration(when.earliest_ns)} to {format_duration(when.latest_ns)}"
