"""`chaosd heal` without a stack: what others mend meanwhile, what cannot be read, what was left half made."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chaosd.healing import ladder
from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.healing.recover import recover
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError
from chaosd.process import places, spawn
from chaosd.testbed.testbed import announce, owner_of_this_process

DEAD = spawn.Handle(os.getpid(), 1)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def abandoned(testbed: Path) -> Lease:
    lease = new_lease(
        run_id="r", injection="1-down-redis", fault="down", on="redis", params={}, memo={}, tag="t",
        testbed=str(testbed), lasts_ns=SECOND, clock=SystemClock(),
    )  # fmt: skip
    lease = replace(lease, holder_started=1)
    Leases().open(lease)
    return lease


async def test_what_somebody_else_mended_meanwhile_is_mended(state, monkeypatch):
    directory = announce("theirs", provider="embedded", kept=True, owner=owner_of_this_process())
    lease = abandoned(directory)

    async def too_late(lease: Lease) -> None:
        Leases().close(lease)
        raise HealError("its files vanished")

    monkeypatch.setattr(ladder, "undo_from_disk", too_late)
    done = await recover()
    assert [(one.ok, one.what) for one in done] == [(True, "down on redis (run r): somebody else")]
    assert not Leases().holds(lease)


async def test_what_failed_and_is_still_open_is_not_mended(monkeypatch):
    directory = announce("theirs", provider="embedded", kept=True, owner=owner_of_this_process())
    lease = abandoned(directory)
    done = await recover()  # there is no stack in it
    assert [one.ok for one in done] == [False]
    assert Leases().holds(lease)


async def test_leases_that_cannot_be_read_are_told_and_testbeds_ended_all_the_same(state):
    orphan = announce("orphan", provider="embedded", kept=False, owner=DEAD)
    theirs = announce("theirs", provider="external", kept=False, owner=DEAD)
    (state / "leases").write_text("a file where the folder should be")
    done = await recover()
    assert [one.ok for one in done] == [False, True]
    assert "nobody can tell what is broken" in done[0].error
    assert not orphan.exists()
    # Whether something is broken on servers of others is not known, and its folder would be needed to undo that.
    assert theirs.exists()


async def test_testbed_on_servers_of_others_stays_while_something_is_broken_there():
    theirs = announce("theirs", provider="external", kept=False, owner=DEAD)
    lease = abandoned(theirs)
    assert [one.ok for one in await recover()] == [False]
    assert theirs.exists()
    Leases().close(lease)
    assert [one.what for one in await recover()] == ["testbed theirs ended"]
    assert not theirs.exists()


async def test_folder_that_was_left_half_made_is_removed_and_one_that_is_being_made_is_not():
    old, young, stack = (places.testbeds_dir() / name for name in ("old", "young", "stack"))
    for folder in (old, young, stack):
        folder.mkdir(parents=True)
    (stack / "stack.json").write_text("{}")  # a stack that somebody started by other means
    for folder in (old, stack):
        os.utime(folder, (0, 0))
    assert [one.what for one in await recover()] == ["testbed old ended"]
    assert not old.exists()
    assert young.exists()
    assert stack.exists()


async def test_testbed_of_another_version_is_told_and_keeps_nothing_else_from_being_mended():
    strange = announce("strange", provider="embedded", kept=False, owner=DEAD)
    (strange / "testbed.json").write_text('{"name": "strange", "marker": "m"}')
    orphan = announce("orphan", provider="embedded", kept=False, owner=DEAD)
    done = await recover()
    assert [(one.what, one.ok) for one in done] == [("testbed orphan ended", True), ("testbed strange", False)]
    assert "another version" in done[1].error
    assert strange.exists()
    assert not orphan.exists()


# `python -m chaosd …`, and after it what it imported.
_MAIN = (
    "import atexit, runpy, sys; atexit.register(lambda: print('imported', *sys.modules));"
    "runpy.run_module('chaosd', run_name='__main__', alter_sys=True)"
)
# Its undo must begin within a second of its start, on a loaded machine: none of these is needed for that.
_SLOW = {"numpy", "aiokafka", "requests", "toxiproxy", "asyncpg", "typer", "rich", "docker", "nanoarrow", "yaml"}


def healing(*arguments: str) -> tuple[str, set[str]]:
    """What `chaosd heal` printed, and the top-level packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", _MAIN, "heal", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    *_, imported = done.stdout.splitlines()
    assert imported.startswith("imported "), done.stderr
    return done.stdout + done.stderr, {name.partition(".")[0] for name in imported.split()}


@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_heal_goes_at_an_open_lease_without_slow_imports(arguments):
    abandoned(announce("theirs", provider="embedded", kept=True, owner=owner_of_this_process()))
    said, imported = healing(*arguments)
    assert "NOT HEALED: down on redis (run r)" in said  # it came that far: there is no stack in it
    assert imported & _SLOW == set()


def test_slow_imports_of_a_heal_would_be_seen():
    said, imported = healing("--help")
    assert "--force" in said
    assert "typer" in imported
