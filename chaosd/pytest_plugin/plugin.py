"""The hooks. Every pytest of this environment loads this module: it imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaosd.pytest_plugin import fixtures, sessions

SUFFIX = ".chaos.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of chaos experiments."""
    group = parser.getgroup("chaosd", "chaos experiments (chaosd)")
    group.addoption(
        "--chaos-profile", choices=("standard", "quick"), default="quick", help="length of the phases (default: quick)"
    )
    group.addoption(
        "--chaos-inconclusive",
        choices=("fail", "skip"),
        default="fail",
        help="what an INCONCLUSIVE experiment does to its test (default: fail)",
    )
    group.addoption("--chaos-seed", type=int, help="repeat runs: same traffic, same chances")
    group.addoption("--chaos-runs-dir", help="where run directories go (default: CHAOSD_RUNS, or runs/ in the rootdir)")
    group.addoption("--chaos-report-dir", help="also copy each run's report there: HTML, Markdown, JSON, JUnit")
    group.addoption(
        "--chaos-stack", choices=("embedded", "external"), default="embedded", help="the real parts (default: embedded)"
    )
    group.addoption(
        "--chaos-files",
        action="append",
        default=[],
        metavar="GLOB",
        help="collect these files as experiments too (again for more): experiments/*.yaml",
    )
    group.addoption(
        "--chaos-timeout-scale",
        type=_scale,
        default=1.0,
        metavar="FACTOR",
        help="wait longer on a slow machine; the limits that are judged stay (default: 1)",
    )


def _scale(text: str) -> float:
    factor = float(text)
    if not 0 < factor <= 100:
        raise ValueError(text)
    return factor


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures and the marker."""
    config.addinivalue_line("markers", "chaos: an experiment of a *.chaos.yaml file (chaosd)")
    config.pluginmanager.register(fixtures, "chaosd-fixtures")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect experiments."""
    if not file_path.name.endswith(SUFFIX):
        patterns = parent.config.getoption("--chaos-files")
        if not any(file_path.match(pattern) for pattern in patterns):
            return None
    from chaosd.pytest_plugin.items import ChaosFile

    return ChaosFile.from_parent(parent, path=file_path)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the testbed, after the fixtures that used it."""
    sessions.close(session.config)
