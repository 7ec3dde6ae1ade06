"""Leases: on the disk before the act, whole or not there, readable by any process."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chaosd.healing import ladder
from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError
from chaosd.process import spawn


@pytest.fixture
def lease() -> Lease:
    return new_lease(
        run_id="20260101-run",
        injection="redis/latency 1",
        fault="latency",
        on="redis",
        params={"latency": "400ms"},
        memo={"proxies": ["redis"]},
        tag="chaosd-x",
        testbed="/nowhere",
        lasts_ns=5 * SECOND,
        clock=SystemClock(),
    )


@pytest.fixture
def leases(tmp_path) -> Leases:
    return Leases(tmp_path / "leases")


def test_open_lease_is_read_back_equal(leases, lease):
    leases.open(lease)
    assert leases.all() == [lease]
    assert leases.of_run(lease.run_id) == [lease]
    assert leases.of_run("another") == []


def test_closed_lease_is_gone_and_closing_twice_is_once(leases, lease):
    leases.open(lease)
    leases.close(lease)
    leases.close(lease)
    assert leases.all() == []


def test_file_and_folder_are_synced_before_open_returns(leases, lease, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    leases.open(lease)
    assert synced == [f"{lease.id}.{lease.holder_pid}-{lease.holder_started}.tmp", "leases"]


def test_half_written_lease_is_not_taken_for_one_but_reported(leases, lease):
    leases.open(lease)
    whole = leases.folder / f"{lease.id}.json"
    torn = leases.folder / "torn.json"
    torn.write_bytes(whole.read_bytes()[:40])
    (leases.folder / "other.tmp").write_text("{")
    assert leases.all() == [lease]
    assert leases.unreadable() == [torn]


def test_lease_of_another_format_is_reported(leases, lease):
    leases.folder.mkdir()
    (leases.folder / "new.json").write_text(json.dumps({**lease.to_json(), "format": 99}))
    assert leases.all() == []
    assert len(leases.unreadable()) == 1


def test_lease_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path, lease):
    (tmp_path / "file").write_text("")
    with pytest.raises(HealError, match="nothing was broken") as caught:
        Leases(tmp_path / "file" / "leases").open(lease)
    assert caught.value.remedy


def test_lease_is_held_while_its_holder_lives(lease):
    assert lease.held()


def test_lease_of_a_holder_that_is_dying_in_the_kernel_is_not_held(lease, monkeypatch):
    """Fake, see test_spawn. `chaosd heal` would find nothing to do, and the holder never undo it."""
    monkeypatch.setattr(spawn, "_status", lambda pid: "SigPnd:\t0000000000000100\n")
    assert not lease.held()


def test_lease_of_a_dead_holder_is_not_held(lease):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert not replace(lease, holder_pid=child.pid).held()


def test_lease_of_a_reused_pid_is_not_held(lease):
    assert not replace(lease, holder_started=lease.holder_started - 1).held()


def test_lease_of_another_boot_is_neither_held_nor_in_time(lease):
    other = replace(lease, boot_id="another boot")
    assert not other.held()
    assert other.overdue(SystemClock())


def test_lease_is_overdue_after_its_deadline_only(lease):
    assert not lease.overdue(SystemClock())
    assert replace(lease, deadline_ns=0).overdue(SystemClock())


def test_leases_come_in_order_of_their_deadlines(leases, lease):
    for number, wall in enumerate((3, 1, 2)):
        leases.open(replace(lease, id=f"l{number}", deadline_wall_ns=wall))
    assert [one.deadline_wall_ns for one in leases.all()] == [1, 2, 3]


async def test_lease_whose_testbed_is_gone_is_healed(lease, tmp_path):
    cleared = await ladder.undo_from_disk(replace(lease, testbed=str(tmp_path / "gone")))
    assert cleared.evidence == {"by": "its testbed is gone"}


async def test_lease_whose_testbed_cannot_be_read_stays_broken(lease, tmp_path):
    with pytest.raises(HealError):
        await ladder.undo_from_disk(replace(lease, testbed=str(tmp_path)))


def test_fault_that_this_version_does_not_know_is_an_error(lease):
    with pytest.raises(HealError, match="no fault 'meteor'"):
        ladder.fault_of(replace(lease, fault="meteor"))


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_one(tmp_path):
    (tmp_path / "leases").write_text("a file where the folder should be")
    with pytest.raises(HealError, match="nobody can tell what is broken"):
        Leases(tmp_path / "leases").all()


def test_a_folder_that_is_not_there_yet_is_empty(leases):
    assert leases.all() == []
    assert leases.unreadable() == []
    leases.sweep()


def test_a_lease_that_cannot_be_removed_is_an_error_that_says_so(leases, lease, monkeypatch):
    """Fake: the file system has become read-only."""

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    leases.open(lease)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(HealError, match=r"is undone, but its lease .* cannot be removed: Read-only"):
        leases.close(lease)
    assert leases.holds(lease)


def test_what_a_killed_writer_left_is_swept_and_what_is_being_written_is_not(leases, lease):
    leases.open(lease)
    dead = leases.folder / f"a.b.{lease.holder_pid}-{lease.holder_started - 1}.tmp"
    alive = leases.folder / f"a.b.{lease.holder_pid}-{lease.holder_started}.tmp"
    for scratch in (dead, alive):
        scratch.write_text("{")
    leases.sweep()
    assert not dead.exists()
    assert alive.exists()
    assert leases.all() == [lease]
