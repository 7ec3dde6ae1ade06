"""Verifiers of a large history run at once, and nothing of it shows."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from chaosd.verification import cores
from chaosd.verification.verifier import Verifier

LARGE = 1_000_000


def _named(*names: str) -> list[Verifier]:
    def never(*_: Any) -> Any:
        raise AssertionError

    return [Verifier(name, (), never, never, never) for name in names]


def test_results_come_in_the_order_of_the_verifiers_whoever_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    last_has_begun = threading.Event()

    def act(verifier: Verifier) -> str:
        if verifier.name == "first":
            assert last_has_begun.wait(60)
        if verifier.name == "last":
            last_has_begun.set()
        return verifier.name

    assert cores.each(act, _named("first", "middle", "last"), LARGE) == ["first", "middle", "last"]


def test_a_small_history_is_judged_in_the_thread_that_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    threads = cores.each(lambda _: threading.get_ident(), _named("a", "b"), 1_000)
    assert threads == [threading.get_ident()] * 2


def test_one_core_has_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cores.each(lambda _: threading.get_ident(), _named("a", "b"), LARGE) == [threading.get_ident()] * 2


def test_what_goes_wrong_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    def act(verifier: Verifier) -> str:
        raise ValueError(verifier.name)

    with pytest.raises(ValueError, match=r"^[ab]$"):
        cores.each(act, _named("a", "b"), LARGE)
