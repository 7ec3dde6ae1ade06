"""Several verifiers over one history at once: numpy lets go of the interpreter while it works on a long column."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from chaosd.verification.verifier import Verifier

T = TypeVar("T")

# Below this many rows a judgement takes milliseconds, and threads would only be in one another's way.
_WORTH_ROWS = 200_000
_MOST = 4


def each(act: Callable[[Verifier], T], verifiers: Sequence[Verifier], rows: int) -> list[T]:
    """`act` of each verifier, in the order of the verifiers, whatever the order in which they end."""
    workers = min(os.cpu_count() or 1, _MOST, len(verifiers))
    if rows < _WORTH_ROWS or workers < 2:
        return [act(verifier) for verifier in verifiers]
    with ThreadPoolExecutor(workers) as pool:
        # By name, so from the back: recovery, the longest, begins among the first and the short ones fill the rest.
        done = [pool.submit(act, verifier) for verifier in reversed(verifiers)]
        return [one.result() for one in reversed(done)]
