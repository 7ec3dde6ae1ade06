"""Faults whose [inject, clear + limit + H + θ] overlap are one episode, judged once, from the last clear."""

from __future__ import annotations

from dataclasses import dataclass

from chaosd.journal.model import InjectionFacts, RunFacts


@dataclass(frozen=True, slots=True)
class Episode:
    """`injections` in order of time; the recovery counts from [zero_low_ns, zero_high_ns]: the last clear, or with
    `from: inject` the last injection.
    """

    injections: tuple[InjectionFacts, ...]
    zero_low_ns: int
    zero_high_ns: int

    @property
    def name(self) -> str:
        """The ids of its faults, joined."""
        return "+".join(injection.id for injection in self.injections)

    @property
    def call_ns(self) -> int:
        """When the first fault of it was called."""
        return min(injection.call_ns for injection in self.injections)

    @property
    def clear_ns(self) -> int:
        """When the last fault of it was gone at the latest."""
        return max(injection.clear_high_ns for injection in self.injections)


def episodes(run: RunFacts, threshold_ns: int) -> tuple[Episode, ...]:
    """The episodes of all injections that were injected and healed."""
    after_ns = run.limit_ns + run.hold_ns + threshold_ns
    groups: list[list[InjectionFacts]] = []
    until_ns = -1
    done = [injection for injection in run.injections if injection.call_ns >= 0 and injection.clear_high_ns >= 0]
    for injection in sorted(done, key=lambda one: (one.call_ns, one.id)):
        if groups and injection.call_ns <= until_ns:
            groups[-1].append(injection)
        else:
            groups.append([injection])
            until_ns = -1
        until_ns = max(until_ns, injection.clear_high_ns + after_ns)
    return tuple(_episode(run, tuple(group)) for group in groups)


def _episode(run: RunFacts, injections: tuple[InjectionFacts, ...]) -> Episode:
    if run.expect.recovery.from_ == "inject":
        low = max(injection.call_ns for injection in injections)
        high = max(injection.returned_ns for injection in injections)
    else:
        low = max(injection.clear_low_ns for injection in injections)
        high = max(injection.clear_high_ns for injection in injections)
    return Episode(injections, low, max(low, high))
