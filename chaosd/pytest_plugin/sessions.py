"""One bench for each pytest session (with xdist: for each worker), made when the first test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chaosd.pytest_plugin.bench import Bench

_BENCH: pytest.StashKey[Bench] = pytest.StashKey()


def bench_of(config: pytest.Config) -> Bench:
    """The bench of this session."""
    if _BENCH not in config.stash:
        from chaosd.pytest_plugin.bench import Bench

        config.stash[_BENCH] = Bench(config)
    return config.stash[_BENCH]


def close(config: pytest.Config) -> None:
    """End the bench, if there is one."""
    if _BENCH in config.stash:
        config.stash[_BENCH].close()
        del config.stash[_BENCH]
