"""All cores at once: numpy lets go of the interpreter while it works on a long column.

The work is cut into shares and verifiers. All verifiers fold one share before the next one's turn comes, so that its
columns stay in the processor's caches.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from chaosd.journal.model import Partition
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification.case import Case
from chaosd.verification.verifier import Verifier

# Below this many rows a judgement takes milliseconds, and threads would only be in one another's way.
_WORTH_ROWS = 200_000
_MOST = 4

# What a verifier's fold gives of each share, in the order of the shares.
Folds = Sequence[Future[Any]]


class _Here(Executor):
    """Does everything at once, in the thread of the caller."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            done.set_exception(error)
        return done


def crew(rows: int) -> Executor:
    """Who judges a history of so many rows: threads where it is worth them."""
    workers = min(os.cpu_count() or 1, _MOST)
    return ThreadPoolExecutor(workers) if rows >= _WORTH_ROWS and workers > 1 else _Here()


def fold(pool: Executor, case: Case, shares: Sequence[Partition], verifiers: Sequence[Verifier]) -> list[Folds]:
    """The folds of each verifier, in the order of `verifiers`, whatever the order in which they end."""
    done = [[pool.submit(verifier.fold, case, share) for verifier in verifiers] for share in shares]
    return [tuple(of_share[number] for of_share in done) for number in range(len(verifiers))]


def conclude(case: Case, verifier: Verifier, folds: Folds) -> Verdict:
    """Join all shares and judge. Raises whatever the verifier raises; a history without shares is no PASS."""
    if not folds:
        return Verdict(verifier.name, Grade.INCONCLUSIVE, ("empty",))
    return verifier.conclude(case, functools.reduce(verifier.merge, [one.result() for one in folds]))
