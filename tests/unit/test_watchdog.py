"""A watchdog undoes whatever is broken on its testbed, and states in its run's journal what was of that run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from waits import until

from chaosd.faults.fault import Cleared
from chaosd.healing.guard import Guard
from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.healing.order import Order
from chaosd.healing.watchdog import facts_of
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError
from chaosd.process import spawn
from chaosd.testbed.testbed import announce


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    (tmp_path / "run").mkdir()
    return tmp_path


def watchdog(folder: Path, *, teardown: bool = False) -> Guard:
    order, clock = Order(folder / "gone", teardown, "mine", folder / "run"), SystemClock()
    return Guard(order, facts_of(order, clock), clock)


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

    monkeypatch.setattr("chaosd.healing.guard.tear_down", tear_down)
    assert not await watchdog(state, teardown=True).orphaned("its process is gone")
    assert stated(state)[-1]["kind"] == "torn_down"
    assert stated(state)[-1]["ok"] is False


async def test_lease_that_cannot_be_closed_does_not_cut_off_the_undoes_beside_it(state, monkeypatch):
    """Fake: the file of one lease cannot be removed."""
    stuck, fine = lease_of(state, "mine"), lease_of(state, "mine")
    close = Leases.close

    def refuse(self: Leases, lease: Lease) -> None:
        if lease == stuck:
            raise HealError("it cannot be removed")
        close(self, lease)

    monkeypatch.setattr(Leases, "close", refuse)
    await watchdog(state).heal([stuck, fine], "late")
    assert Leases().all() == [stuck]
    assert [fact["ok"] for fact in stated(state) if fact["kind"] == "lease_undone"] == [False, True]


async def test_leases_that_cannot_be_read_for_a_while_are_kept_afterwards(state):
    folder = state / "state" / "leases"
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    looking = asyncio.create_task(watchdog(state).overdue())
    await asyncio.sleep(0.15)
    folder.unlink()
    Leases().open(replace(lease_of(state, "mine"), deadline_ns=0))
    await until(lambda: not Leases().all(), within_s=10)
    assert not looking.done()
    looking.cancel()


async def test_leases_that_cannot_be_read_are_no_success(state, monkeypatch):
    monkeypatch.setattr("chaosd.healing.guard._RETRY_AFTER_S", (0.01,))
    (state / "state").mkdir()
    (state / "state" / "leases").write_text("a file where the folder should be")
    assert not await watchdog(state).orphaned("its process is gone")


async def test_undo_that_failed_is_tried_again_while_the_holder_lives(state, monkeypatch):
    tries = []

    async def redeem(leases: Leases, lease: Lease) -> Cleared:
        tries.append(lease)
        if len(tries) < 3:
            raise HealError("the port is taken")
        leases.close(lease)
        return Cleared(1, 2)

    monkeypatch.setattr("chaosd.healing.guard.redeem", redeem)
    monkeypatch.setattr("chaosd.healing.guard._AGAIN_NS", 0)
    Leases().open(replace(lease_of(state, "mine"), deadline_ns=0))
    looking = asyncio.create_task(watchdog(state).overdue())
    await until(lambda: not Leases().all(), within_s=10)
    looking.cancel()
    assert len(tries) == 3


async def test_lease_of_another_boot_is_overdue_whatever_its_deadline_says(state):
    own = replace(lease_of(state, "mine"), boot_id="another boot", deadline_ns=2**62)
    Leases().open(own)
    looking = asyncio.create_task(watchdog(state).overdue())
    await until(lambda: not Leases().all(), within_s=10)
    looking.cancel()


@pytest.fixture
def stopped():
    """A process that is there and stands still."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


async def test_holder_that_was_stopped_past_its_deadline_is_killed_before_the_undo(state, stopped):
    """Continued later, it would go on with its injection, and nobody would undo that."""
    handle = spawn.handle_of(stopped.pid)
    await until(lambda: spawn.state(handle) == "T", within_s=10)
    own = replace(lease_of(state, "mine"), deadline_ns=0, holder_pid=handle.pid, holder_started=handle.started)
    Leases().open(own)
    looking = asyncio.create_task(watchdog(state).overdue())
    await until(lambda: not Leases().all(), within_s=10)
    looking.cancel()
    assert stopped.wait() == -signal.SIGKILL
    assert "holder_fenced" in [fact["kind"] for fact in stated(state)]


def test_the_holder_is_the_one_that_the_order_names():
    said = {"testbed": "/x", "teardown": True, "holder": {"pid": 7, "started": 8}}
    assert Order.of(said).holder == spawn.Handle(7, 8)
    del said["holder"]
    assert Order.of(said).holder.pid == os.getppid()


async def test_testbed_on_servers_of_others_stays_until_what_is_broken_there_is_undone(state, monkeypatch):
    monkeypatch.setattr("chaosd.healing.guard._RETRY_AFTER_S", (0.01,))
    directory = announce("theirs", provider="external", kept=False)
    ended = []

    async def tear_down(folder: Path) -> None:
        ended.append(folder)

    monkeypatch.setattr("chaosd.healing.guard.tear_down", tear_down)
    guard = Guard(Order(directory, teardown=True, run_id="mine", run_dir=None), None, SystemClock())
    lease = lease_of(state, "mine")
    Leases().close(lease)
    Leases().open(replace(lease, testbed=str(directory)))  # no stack there: it cannot be undone
    assert not await guard.orphaned("its process is gone")
    assert ended == []
    assert len(Leases().all()) == 1
    Leases().close(lease)
    assert await guard.orphaned("its process is gone")
    assert ended == [directory]


def loaded_by(module: str) -> set[str]:
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_what_an_undo_needs_is_loaded_before_there_is_anything_to_undo():
    needed = {"aiokafka.admin", "chaosd.stack.parts.toxiproxy.client", "chaosd.stack.providers.embedded"}
    assert needed <= loaded_by("chaosd.healing.guard")


def test_a_watchdog_is_armed_before_it_loads_them():
    assert not {"aiokafka", "pydantic", "requests", "structlog"} & loaded_by("chaosd.healing.watchdog")
