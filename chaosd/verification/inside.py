"""Where between two services an envelope was lost: how far the topics between them show it.

Hop codes from FIRST on: FIRST + a mask of the internal topics in which it was seen, bit n for the nth. It says what was
seen and what was not; which service that is, people know by its topics.
"""

from __future__ import annotations

import numpy as np

from chaosd.journal.columns import Role
from chaosd.journal.model import Partition
from chaosd.verification.case import Case

PASSED = 2
FIRST = 16
# More would not fit into a hop's byte.
_MOST = 7


def attributed(case: Case, partition: Partition, lost: np.ndarray, told: np.ndarray) -> np.ndarray:
    """`told` (dtype FOUND, of the envelopes at the indices `lost`) with the hop of those that were committed past.

    An envelope that is in none of the topics was lost before them: only where each of their records was identified.
    """
    topics = _topics(case)
    if not len(topics) or not len(lost) or not case.run.fresh_complete:
        return told
    seen = partition.sightings[np.isin(partition.sightings["topic"], topics)]
    mask = np.zeros(len(partition.envelopes) + 1, np.int64)  # the last one stands for records of no envelope
    for bit, topic in enumerate(topics):
        mask[seen["row"][seen["topic"] == topic]] |= 1 << bit
    of = mask[lost]
    sure = (of > 0) | (not any(case.run.topics[topic].name in case.run.unnamed for topic in topics))
    sure &= _whole_way(case, partition, mask)[lost]
    told["hop"] = np.where((told["hop"] == PASSED) & sure, FIRST + of, told["hop"])
    return told


def _whole_way(case: Case, partition: Partition, mask: np.ndarray) -> np.ndarray:
    """Which envelopes' way leads through all of these topics, as far as anybody knows.

    Of several inputs each may have another way: who is not seen in a topic in which no envelope of its stream ever was
    need not have been lost before it.
    """
    streams = partition.envelopes["stream"]
    if len(case.topics(Role.INPUT)) < 2:
        return np.ones(len(streams), bool)
    passed = np.zeros(int(streams.max(initial=0)) + 1, np.int64)
    np.bitwise_or.at(passed, streams, mask[: len(streams)])
    return np.asarray(passed[streams] == (1 << len(_topics(case))) - 1)


def hops(case: Case) -> dict[int, str]:
    """The words for each hop."""
    names = [case.run.topics[topic].name for topic in _topics(case)]
    found = {}
    for mask in range(1 << len(names) if names else 0):
        there = [name for bit, name in enumerate(names) if mask & 1 << bit]
        missing = [name for bit, name in enumerate(names) if not mask & 1 << bit]
        before = f"lost before {' and '.join(missing)}" if missing else ""
        behind = f"lost behind {' and '.join(there)}" if there else ""
        found[FIRST + mask] = ", ".join(words for words in (behind, before) if words)
    return found


def _topics(case: Case) -> list[int]:
    return [int(topic) for topic in case.topics(Role.INTERNAL)[:_MOST]]
