"""A large history is judged on all cores, and nothing of it shows."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import histories
import pytest
from histories import VERIFIERS

from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification import cores
from chaosd.verification.case import open_case
from chaosd.verification.verifier import Verifier

LARGE = 1_000_000


def _shares() -> tuple[Any, tuple[Any, ...]]:
    written = histories.plain()
    written.cut_at_streams = (2,)
    return open_case(written), tuple(written.partitions())


def _folding(name: str, fold: Callable[..., Any]) -> Verifier:
    def conclude(case: Any, partial: Any) -> Verdict:
        return Verdict(name, Grade.PASS, (str(partial),))

    return Verifier(name, (), fold, lambda a, b: a + b, conclude)


def test_folds_come_in_the_order_of_shares_and_verifiers_whoever_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    case, shares = _shares()
    last_has_begun = threading.Event()

    def slow(case: Any, share: Any) -> str:
        if share is shares[0]:
            assert last_has_begun.wait(60)
        else:
            last_has_begun.set()
        return "ab"[share is shares[1]]

    with cores.crew(LARGE) as pool:
        folds = cores.fold(pool, case, shares, [_folding("slow", slow), _folding("quick", lambda *_: "c")])
    assert [[one.result() for one in of_verifier] for of_verifier in folds] == [["a", "b"], ["c", "c"]]
    assert cores.conclude(case, _folding("slow", slow), folds[0]).reasons == ("ab",)


@pytest.mark.parametrize(("rows", "cpus"), [(1_000, 2), (LARGE, None)])
def test_a_small_history_and_a_single_core_have_no_threads(
    monkeypatch: pytest.MonkeyPatch, rows: int, cpus: int | None
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cpus)
    with cores.crew(rows) as pool:
        assert pool.submit(threading.get_ident).result() == threading.get_ident()


@pytest.mark.parametrize("rows", [1_000, LARGE])
def test_what_a_fold_raises_is_raised_where_it_is_concluded(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    case, shares = _shares()

    def explode(case: Any, share: Any) -> str:
        raise ValueError("on purpose")

    with cores.crew(rows) as pool:
        broken, whole = cores.fold(pool, case, shares, [_folding("a", explode), _folding("b", lambda *_: "b")])
    with pytest.raises(ValueError, match="on purpose"):
        cores.conclude(case, _folding("a", explode), broken)
    assert cores.conclude(case, _folding("b", explode), whole).grade is Grade.PASS


@pytest.mark.parametrize("verifier", VERIFIERS, ids=lambda one: one.name)
def test_threads_come_to_the_same_verdict(monkeypatch: pytest.MonkeyPatch, verifier: Verifier) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    case, shares = _shares()
    told = []
    for rows in (1_000, LARGE):
        with cores.crew(rows) as pool:
            (folds,) = cores.fold(pool, case, shares, [verifier])
            told.append(pool.submit(functools.partial(cores.conclude, case, verifier, folds)).result())
    assert told[0] == told[1]


def test_a_history_without_shares_does_not_pass() -> None:
    case, _ = _shares()
    verdict = cores.conclude(case, _folding("a", lambda *_: "a"), ())
    assert (verdict.grade, verdict.reasons) == (Grade.INCONCLUSIVE, ("empty",))
