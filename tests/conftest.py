"""One real stack for the whole session: it is up before the first test that asks for it, and gone after the last.

A watchdog guards it: a test run that is killed leaves no server behind.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest

from chaosd.process.control import Child
from chaosd.stack.providers.embedded import EmbeddedProvider
from chaosd.stack.stack import Stack

# By how long one worker is at them, the longest first: one that begins last would be alone at the end.
LONG = (
    "test_real_targets.py",
    "test_faults.py",
    "test_real_runs.py",
    "test_run_that_is_cut_short.py",
    "test_chaos_yaml.py",
    "test_death_of_a_process.py",
    "test_daemon.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers that share the files among them (`make test`) begin with the long ones."""
    if hasattr(config, "workerinput"):
        places = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


def pytest_configure() -> None:
    """A shell makes what it starts in the background ignore SIGINT, and so would all that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Redis, PostgreSQL, Kafka and Toxiproxy, shared by all tests: leave it as you found it."""
    folder = tmp_path_factory.mktemp("testbed") / "session"
    folder.mkdir()
    guard = await Child.start("chaosd.healing.watchdog", stderr_log=folder.parent / "watchdog.log")
    await guard.send({"cmd": "arm", "testbed": str(folder), "teardown": True, "run_id": "", "run_dir": None})
    provider = EmbeddedProvider()
    running = await provider.up(folder, str(folder))
    yield running
    await provider.down(running)
    running.close()
    await guard.send({"cmd": "disarm"})
    await guard.close()
