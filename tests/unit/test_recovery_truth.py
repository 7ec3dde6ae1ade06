"""The recovery interval against simulations of known recovery time; benchmarks/truth.py does a thousand of each."""

from __future__ import annotations

import pytest
from simulated_recovery import check, simulate


@pytest.mark.parametrize(("stalls", "late"), [(0, 0), (4, 0), (0, 2), (3, 2)])
def test_the_interval_contains_the_true_recovery_time(stalls, late):
    for seed in range(15):
        check(simulate(seed, stalls=stalls, late=late), narrow=not stalls and not late)
