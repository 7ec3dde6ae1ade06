"""Finds what travels with chaosd beside its code: experiments, verifiers, the compose file."""

from __future__ import annotations

from pathlib import Path

from chaosd.kernel.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent.parent


def bundled(name: str) -> Path:
    """`experiments`, `verifiers` or `docker-compose.chaos.yml`, from the wheel or from a checkout."""
    for home in (_PACKAGE / "_bundled", _PACKAGE.parent):
        if (home / name).exists():
            return home / name
    raise UsageError(f"{name} is missing from this installation of chaosd", remedy="reinstall chaosd")
