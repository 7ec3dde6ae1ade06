"""When the steps of a timeline happen: moments that are fixed, drawn from the seed, or repeated. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.units import format_duration, parse_duration_ns

LONGEST_NS = 3_600 * SECOND
TIMES_MAX = 100
_FORM = "a duration such as 400ms or 5s, or a window it is drawn from: {between: [0s, 10s]}"


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time: fixed, or drawn evenly from [low_ns, high_ns] in whole milliseconds."""

    low_ns: int
    high_ns: int

    @property
    def drawn(self) -> bool:
        """Whether the seed decides."""
        return self.low_ns != self.high_ns

    def draw(self, rng: Random) -> int:
        """One value of it."""
        if not self.drawn:
            return self.low_ns
        return rng.randint(-(-self.low_ns // MS), self.high_ns // MS) * MS


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time that a line of the timeline happens.

    Whatever the seed, it lies within [earliest_ns, latest_ns] and is no longer than `longest_ns`.
    """

    at_ns: int
    for_ns: int
    earliest_ns: int
    latest_ns: int
    longest_ns: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """How often a line happens: `every` from begin to begin, `times` in all, or while it begins before `until_ns`."""

    every: Span
    times: int | None
    until_ns: int | None


def parse_span(value: object) -> Span:
    """`5s`, or `{between: [0s, 10s]}`. Raises ValueError that says what may stand there."""
    if isinstance(value, dict):
        window = value.get("between")
        if set(value) != {"between"} or not isinstance(window, list) or len(window) != 2:
            raise ValueError(_FORM)
        low_ns, high_ns = (parse_duration_ns(end) for end in window)
        if high_ns - low_ns < MS:
            raise ValueError("a window from a shorter to a longer duration, such as {between: [0s, 10s]}")
    else:
        try:
            low_ns = high_ns = parse_duration_ns(value)
        except ValueError as error:
            raise ValueError(_FORM) from error
    if high_ns > LONGEST_NS:
        raise ValueError(f"a duration of at most {format_duration(LONGEST_NS)}")
    return Span(low_ns, high_ns)


def occurrences(line: int, at: Span, lasts: Span, repeated: Repeated | None, seed: int) -> Iterator[Occurrence]:
    """Every time that a line happens. What is drawn depends on the seed and on the line's number alone."""
    rng = Random(f"timeline/{seed}/{line}")
    at_ns, earliest_ns, latest_ns = at.draw(rng), at.low_ns, at.high_ns
    for count in range(1, TIMES_MAX + 1):
        yield Occurrence(at_ns, lasts.draw(rng), earliest_ns, latest_ns + lasts.high_ns, lasts.high_ns)
        if repeated is None or count == repeated.times:
            return
        at_ns += repeated.every.draw(rng)
        earliest_ns, latest_ns = earliest_ns + repeated.every.low_ns, latest_ns + repeated.every.high_ns
        if repeated.until_ns is not None and at_ns >= repeated.until_ns:
            return
