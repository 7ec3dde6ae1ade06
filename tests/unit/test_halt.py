"""The kill switch: who obeys it, and what it does where a disk is full or nobody may read it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from chaosd.cli import app
from chaosd.cli import halt as command
from chaosd.conductor import client
from chaosd.conductor.guards import Stop
from chaosd.daemon.config import Config, Schedule
from chaosd.daemon.metrics import Metrics
from chaosd.daemon.runner import Runner
from chaosd.healing import halt
from chaosd.healing.lease import new_lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import Exit, RunAborted, UsageError


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(command, "_SETTLED_S", 0.05)
    return tmp_path / "state"


def lease(folder: Path):
    made = new_lease(
        run_id="r", injection="1-down-redis", fault="down", on="redis", params={}, memo={}, tag="t",
        testbed=str(folder / "gone"), lasts_ns=SECOND, clock=SystemClock(),
    )  # fmt: skip
    Leases().open(made)
    return made


def test_halted_chaosd_begins_no_run_until_resumed():
    halt.refuse_when_halted()
    halt.halt("maintenance")
    with pytest.raises(RunAborted, match="chaosd is halted: maintenance"):
        halt.refuse_when_halted()
    assert halt.resume()
    assert not halt.resume()
    halt.refuse_when_halted()


def test_the_last_reason_counts_and_no_scratch_file_stays(state):
    halt.halt("one")
    halt.halt("two")
    assert halt.halted() == "two"
    assert [path.name for path in state.iterdir()] == ["halt"]


def test_whoever_sees_the_switch_sees_the_reason(monkeypatch):
    """A disk that takes its time does not hold the halt up either."""
    seen = []
    monkeypatch.setattr(halt.os, "fsync", lambda fd: seen.append(halt.halted()))
    monkeypatch.setattr(halt.Path, "touch", lambda path: pytest.fail("a switch without a reason"))
    halt.halt("maintenance")
    assert seen == ["maintenance"]


def test_a_bare_file_halts(state):
    state.mkdir()
    halt.halt_file().touch()
    assert halt.halted() == ""


def test_a_switch_that_cannot_be_read_halts(state):
    halt.halt_file().mkdir(parents=True)
    assert "cannot be read" in halt.halted()
    with pytest.raises(UsageError, match="stays halted"):
        halt.resume()


def test_a_full_disk_keeps_the_reason_out_and_halts(monkeypatch):
    """Fake: what is written goes to a device that is always full."""
    opened = Path.open
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda path, *mode, **how: opened(Path("/dev/full"), *mode, **how))
        halt.halt("why")
    assert halt.halted() == ""


def test_a_switch_that_cannot_be_written_is_an_error_and_no_silence(state):
    state.write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="not halted"):
        halt.halt("why")


async def test_a_run_under_way_is_asked_to_end_with_the_reason():
    stop = Stop()
    obeying = asyncio.create_task(halt.obey(stop.set))
    await asyncio.sleep(0)
    assert not stop.is_set()
    halt.halt("smoke in the data centre")
    async with asyncio.timeout(5):
        await obeying
    assert stop.reason == "chaosd is halted: smoke in the data centre"


async def test_a_conductor_refuses_to_begin(tmp_path):
    halt.halt("maintenance")
    handle = await client.start(client.RunRequest("control", runs_dir=str(tmp_path / "runs")), tmp_path / "log")
    said = [event async for event in handle.events()]
    assert handle.code == Exit.ABORTED
    assert said[-1]["message"] == "chaosd is halted: maintenance"
    assert "chaosd resume" in said[-1]["remedy"]
    assert not (tmp_path / "runs").exists()


async def test_the_daemon_refuses_what_is_due_and_touches_nothing(tmp_path):
    schedule = Schedule("nightly", "control", SECOND, "", None)
    config = Config("127.0.0.1", 0, "", "t", "embedded", "quick", tmp_path, 50, (schedule,))
    metrics = Metrics()
    # No testbed and no database: whoever used one of them would fail here.
    runner = Runner(config, None, None, metrics, SystemClock(), structlog.get_logger())
    halt.halt("")
    assert await runner.run(schedule) is Exit.ABORTED
    assert b"chaosd_halted 1.0" in metrics.render()
    halt.resume()
    assert b"chaosd_halted 0.0" in metrics.render()


def test_the_command_halts_tells_and_resumes(capsys):
    assert app.run(["halt", "too", "hot"]) == Exit.PASS
    assert halt.halted() == "too hot"
    assert "chaosd is halted: too hot" in capsys.readouterr().out
    assert app.run(["resume"]) == Exit.PASS
    assert halt.halted() is None
    assert app.run(["resume"]) == Exit.PASS
    assert "nothing was halted" in capsys.readouterr().out


def test_the_command_heals_what_nobody_answers_for(state, monkeypatch):
    monkeypatch.setattr(command, "_ABANDONED_S", 0.0)
    held = lease(state)
    Leases().close(held)
    Leases().open(replace(held, holder_started=held.holder_started - 1))
    assert app.run(["halt"]) == Exit.PASS
    assert not Leases().all()


def test_the_command_does_not_call_healed_what_a_run_still_holds(state, monkeypatch, capsys):
    monkeypatch.setattr(command, "_HEALED_S", 0.2)
    lease(state)
    (state / "leases" / "damaged.json").write_text("{")
    assert app.run(["halt"]) == Exit.UNHEALED
    said = capsys.readouterr().err
    assert "NOT HEALED: down on redis (run r)" in said
    assert "damaged.json" in said
    assert halt.halted() is not None
