"""Which input topic a stream belongs to, where a pipeline has several. Pure.

A stream belongs to exactly one, so that an identity (stream, seq) alone says where its record went, and the traffic,
which goes round all streams evenly, is shared out as the streams are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache


def deal(shares: Sequence[int], streams: int) -> tuple[int, ...]:
    """The number of the input for each stream: as many streams as its share, as nearly as whole streams allow, and at
    least one; spread evenly. Raises ValueError where there are fewer streams than inputs.
    """
    return _deal(tuple(shares), streams)


@lru_cache(maxsize=64)
def _deal(shares: tuple[int, ...], streams: int) -> tuple[int, ...]:
    counts = _counts(shares, streams)
    given = [0] * len(shares)
    dealt = []
    for stream in range(streams):
        # Whoever lacks most of what is due to it by now; the first of equals.
        number = max(range(len(shares)), key=lambda n: (counts[n] * (stream + 1) - given[n] * streams, -n))
        given[number] += 1
        dealt.append(number)
    return tuple(dealt)


def _counts(shares: tuple[int, ...], streams: int) -> list[int]:
    """How many streams each has. The first is everybody's own; each of the others goes to whom it is nearest."""
    if streams < len(shares):
        raise ValueError(f"{len(shares)} inputs need at least {len(shares)} streams, and there are {streams}")
    counts, whole = [1] * len(shares), sum(shares)
    for _ in range(streams - len(shares)):
        number = max(range(len(shares)), key=lambda n: (shares[n] * streams - counts[n] * whole, -n))
        counts[number] += 1
    return counts
