"""Input partitions by number: those of the first input topic, then those of the next, and so on.

Where there is one input topic, as with the reference pipeline, a partition's number is its own. Whatever is kept by
input partition (commits, drains, standstills, the order of results) is kept by this number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from chaosd.journal.columns import Role

if TYPE_CHECKING:
    from chaosd.journal.model import TopicFacts


def firsts(inputs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The number of the first partition of each input topic, by its name. `inputs`: names and numbers of partitions."""
    found, number = {}, 0
    for name, partitions in inputs:
        found[name] = number
        number += partitions
    return found


def numbers(topic: np.ndarray, partition: np.ndarray, topics: Sequence[TopicFacts]) -> np.ndarray:
    """The numbers of these partitions. What is of another topic than an input, and -1 (none), stays as it is."""
    first = np.zeros(256, np.int64)
    known = firsts((one.name, one.partitions) for one in topics if one.role is Role.INPUT)
    for index, one in enumerate(topics):
        first[index] = known.get(one.name, 0)
    return np.asarray(np.where(partition >= 0, partition + first[topic], partition))


def places(topics: Sequence[TopicFacts]) -> list[tuple[int, int]]:
    """Which each number is: the index of its topic, and the partition there."""
    inputs = [(index, one.partitions) for index, one in enumerate(topics) if one.role is Role.INPUT]
    return [(index, partition) for index, partitions in inputs for partition in range(partitions)]
