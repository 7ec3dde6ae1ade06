"""Names of things of which there may be several: `kafka` is all brokers of a cluster, `kafka/2` one of them.

A name may have more than two steps: `target/billing` is all replicas of that service, `target/billing/0` one of them.
"""

from __future__ import annotations

from collections.abc import Iterable

_BETWEEN = "/"


def kind(name: str) -> str:
    """What a thing is: `kafka` of `kafka/2`."""
    return name.partition(_BETWEEN)[0]


def numbered(name: str, numbers: Iterable[int]) -> tuple[str, ...]:
    """The names of several things of one kind."""
    return tuple(f"{name}{_BETWEEN}{number}" for number in numbers)


def members(names: Iterable[str], on: str) -> tuple[str, ...]:
    """Those of `names` that `on` stands for: itself, or all that are part of it. Empty for none."""
    return tuple(name for name in names if _within(name, on))


def touch(one: str, other: str) -> bool:
    """Whether two names have a thing in common: equal ones, or one that is part of the other."""
    return _within(one, other) or _within(other, one)


def _within(name: str, whole: str) -> bool:
    return name == whole or name.startswith(f"{whole}{_BETWEEN}")


def plain(name: str) -> str:
    """The name as a word without a slash, for files and ids: `kafka-2`."""
    return name.replace(_BETWEEN, "-")
