"""Paths as the repository sees them: a report's own paths are relative to the root that was asked for."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from chaosd.preflight.report import Report


def from_here(report: Report, path: str) -> str:
    """A path relative to the working folder, which CI takes for the repository; an absolute root stays absolute."""
    home = PurePosixPath(report.root.as_posix())
    home = home.parent if report.root.is_file() else home
    return os.path.normpath(home / path).replace(os.sep, "/")
