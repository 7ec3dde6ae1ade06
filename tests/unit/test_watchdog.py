"""A watchdog undoes whatever is broken on its testbed, and states in its run's journal what was of that run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.healing.watchdog import Order, Watchdog
from chaosd.kernel.clock import SECOND, SystemClock


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    (tmp_path / "run").mkdir()
    return tmp_path


def watchdog(folder: Path, *, teardown: bool = False) -> Watchdog:
    return Watchdog(Order(folder / "gone", teardown, "mine", folder / "run"), SystemClock())


def lease_of(folder: Path, run_id: str) -> Lease:
    lease = new_lease(
        run_id=run_id, injection="1-down-redis", fault="down", on="redis", params={}, memo={}, tag="t",
        testbed=str(folder / "gone"), lasts_ns=SECOND, clock=SystemClock(),
    )  # fmt: skip
    Leases().open(lease)
    return lease


def stated(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / "facts-watchdog.jsonl").read_bytes().splitlines()]


async def test_undo_for_the_own_run_is_in_its_journal(state):
    own = lease_of(state, "mine")
    await watchdog(state).heal([own], "late")
    assert [fact["kind"] for fact in stated(state)] == ["watchdog_started", "heal_intended", "lease_undone"]
    assert not Leases().all()


async def test_undo_for_another_run_on_the_same_testbed_is_done_and_not_taken_for_the_own(state):
    other = lease_of(state, "before")
    guard = watchdog(state)
    assert guard.mine() == [other]
    await guard.heal([other], "late")
    assert [fact["kind"] for fact in stated(state)] == ["watchdog_started"]
    assert not Leases().all()


async def test_testbed_that_cannot_be_ended_is_told_whatever_the_error(state, monkeypatch):
    async def tear_down(directory: Path) -> None:
        raise AttributeError("a client library")

    monkeypatch.setattr("chaosd.healing.watchdog.tear_down", tear_down)
    assert not await watchdog(state, teardown=True).orphaned("its process is gone")
    assert stated(state)[-1]["kind"] == "torn_down"
    assert stated(state)[-1]["ok"] is False
