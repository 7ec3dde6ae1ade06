"""Benchmarks are run by hand and rarely: what they import must still be there when somebody does."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_benchmark_can_be_loaded(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    importlib.import_module(name)
