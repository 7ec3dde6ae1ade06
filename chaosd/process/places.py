"""Where chaosd keeps what outlives a process: open leases and testbeds (state), installed parts (cache)."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def state_dir() -> Path:
    """CHAOSD_STATE, or the user's state folder. Absolute; not created here."""
    given = os.environ.get("CHAOSD_STATE")
    return Path(given).absolute() if given else platformdirs.user_state_path("chaosd")


def cache_dir() -> Path:
    """CHAOSD_CACHE, or the user's cache folder. Absolute; not created here."""
    given = os.environ.get("CHAOSD_CACHE")
    return Path(given).absolute() if given else platformdirs.user_cache_path("chaosd")


def testbeds_dir() -> Path:
    """The folder with one folder per testbed."""
    return state_dir() / "testbeds"


def install_marker() -> str:
    """What marks the processes of an installation into the cache folder."""
    return f"install:{cache_dir()}"
