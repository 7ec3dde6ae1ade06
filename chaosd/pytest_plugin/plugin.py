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
    group.addoption(
        "--chaos-stack", choices=("embedded", "external"), default="embedded", help="the real parts (default: embedded)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures and the marker."""
    config.addinivalue_line("markers", "chaos: an experiment of a *.chaos.yaml file (chaosd)")
    config.pluginmanager.register(fixtures, "chaosd-fixtures")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect experiments."""
    if not file_path.name.endswith(SUFFIX):
        return None
    from chaosd.pytest_plugin.items import ChaosFile

    return ChaosFile.from_parent(parent, path=file_path)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the testbed, after the fixtures that used it."""
    sessions.close(session.config)
