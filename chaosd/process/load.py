"""Loads a program of chaosd in little time: `python -m chaosd.process.load chaosd.conductor`.

A third of a conductor's start went to what is of no use in it: the garbage collector, which looks again and again at
modules that stay, and a thread for each core that numpy makes for its linear algebra, which nobody here uses.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Of OpenBLAS: the number of its threads where nobody says another (OPENBLAS_NUM_THREADS).
_THREADS = "OPENBLAS_DEFAULT_NUM_THREADS"


@contextmanager
def without_collections() -> Iterator[None]:
    """No garbage collections in this block, in which what is made stays alive: looking for cycles finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def quickly() -> Iterator[None]:
    """What is loaded in this block is there to stay: the garbage collector looks at it neither now nor later."""
    with without_collections():
        yield
        gc.freeze()


def program(name: str) -> None:
    """Load a module, or the `__main__` of a package, and end with what its `main` makes of the arguments."""
    ours = _THREADS not in os.environ
    os.environ.setdefault(_THREADS, "1")
    with quickly():
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{name}.__main__")
    if ours:  # what it starts itself is asked for none of this
        del os.environ[_THREADS]
    sys.exit(module.main(sys.argv[2:]))


if __name__ == "__main__":
    program(sys.argv[1])
