"""A kept testbed carries one run at a time, and none before the last one is healed."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaosd.conductor.bench import acquire
from chaosd.conductor.client import RunRequest
from chaosd.conductor.turn import take, turn
from chaosd.experiment.parse import load
from chaosd.faults.table import forms
from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError, UsageError


@pytest.fixture
def bed(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path))
    directory = tmp_path / "testbeds" / "default"
    directory.mkdir(parents=True)
    return directory


def on(directory: Path) -> Lease:
    return new_lease(
        run_id="killed", injection="1", fault="down", on="redis", params={}, memo={}, tag="t",
        testbed=str(directory), lasts_ns=SECOND, clock=SystemClock(),
    )  # fmt: skip


async def test_second_run_on_a_testbed_is_refused_while_the_first_lasts(bed):
    async with turn(bed):
        with pytest.raises(UsageError, match="another run is using the testbed default"):
            take("default")
    take("default").close()


@pytest.mark.parametrize("refused", [True, False])
async def test_conductor_takes_the_turn_of_a_kept_testbed_and_starts_nothing_without_it(bed, tmp_path, refused):
    request = RunRequest("control", testbed="default" if refused else "other", stack="none")
    with take("default"), pytest.raises(UsageError, match="another run" if refused else "no stack 'none'"):
        async with acquire(request, load("control", forms()), "r", tmp_path, None, lambda event: None):
            pass
    assert list(bed.iterdir()) == []


async def test_runs_on_two_testbeds_do_not_wait_for_each_other(bed):
    async with turn(bed), turn(bed.with_name("other")):
        pass


async def test_run_is_refused_while_an_earlier_one_is_not_healed_there(bed):
    Leases().open(on(bed))
    with pytest.raises(HealError, match="still broken: down on redis"):
        async with turn(bed, healed_s=0.0):
            pass
    take("default").close()


async def test_what_is_broken_elsewhere_or_went_with_its_testbed_keeps_no_run_waiting(bed):
    Leases().open(on(bed.with_name("other")))
    async with turn(bed, healed_s=0.0):
        pass
    async with turn(bed.with_name("other"), healed_s=0.0):
        pass


def test_leases_on_a_testbed_that_was_ended_are_closed(bed):
    Leases().open(on(bed))
    Leases().open(on(bed.with_name("other")))
    Leases().close_all_on(bed)
    assert [lease.testbed for lease in Leases().all()] == [str(bed.with_name("other"))]
