"""Injections: what was broken is mended whatever happens beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaosd.conductor import injections as room
from chaosd.conductor.injections import Injection, Injections
from chaosd.experiment.timeline import Step
from chaosd.faults.fault import Cleared, Force
from chaosd.faults.params import NoParams
from chaosd.faults.table import FAULTS
from chaosd.healing import ladder
from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError, JournalError, StackError

CLOCK = SystemClock()


class Disk:
    """Facts on a disk that is full for some kinds."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.stated: list[str] = []

    def append(self, kind: str, **fields: Any) -> int:
        if kind in self.refused:
            raise JournalError("the disk is full")
        self.stated.append(kind)
        return 0


class Bench:
    """Undoes at once, or as `how` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any] | None = None) -> None:
        self.undone: list[str] = []
        self._how = how or {}
        monkeypatch.setattr(room.ladder, "undo", self._undo)

    async def _undo(self, testbed: object, lease: Lease) -> Cleared:
        await asyncio.sleep(self._how.get(lease.injection, 0.0))
        self.undone.append(lease.injection)
        return Cleared(1, 2)


def broken(tmp_path: Path, disk: Disk, *ids: str) -> Injections:
    context = SimpleNamespace(
        facts=disk, leases=Leases(tmp_path), clock=CLOCK, testbed=None, say_fault=lambda *told: None
    )
    own = Injections(context, SimpleNamespace(edge=lambda: None, few=print, begin=print, end=print))
    for name in ids:
        injection = Injection(Step(name, 0, SECOND, "down", "redis", "proxy", NoParams()), FAULTS["down"], 0)
        injection.state, injection.lease = "injected", lease(name)
        own.all.append(injection)
        context.leases.open(injection.lease)
    return own


def lease(name: str) -> Lease:
    return new_lease(
        run_id="r", injection=name, fault="down", on="redis", params={}, memo={"proxies": ["redis"]}, tag="t",
        testbed="/nowhere", lasts_ns=SECOND, clock=CLOCK,
    )  # fmt: skip


async def test_heal_is_done_although_its_intent_cannot_be_written(tmp_path, monkeypatch):
    bench, disk = Bench(monkeypatch), Disk("heal_intended")
    own = broken(tmp_path, disk, "a")
    await own.heal_all()
    assert bench.undone == ["a"]
    assert not Leases(tmp_path).all()


async def test_heal_that_fails_leaves_the_heals_beside_it_their_end(tmp_path, monkeypatch):
    bench, disk = Bench(monkeypatch, {"slow": 0.05}), Disk("fault_healed")
    own = broken(tmp_path, disk, "quick", "slow")
    with pytest.raises(ExceptionGroup):
        await own.heal_all()
    assert bench.undone == ["quick", "slow"]


async def test_healed_injection_is_not_healed_again(tmp_path, monkeypatch):
    bench, disk = Bench(monkeypatch), Disk()
    own = broken(tmp_path, disk, "a")
    await own.heal_all()
    await own.heal_all()
    assert bench.undone == ["a"]
    assert disk.stated == ["heal_intended", "fault_healed"]


def letting_go(own: Injections, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `broken` broke ends by letting go; an hour of run is left."""

    async def end(testbed: object, lease: Lease) -> tuple[Cleared, bool]:
        return Cleared(1, 2), True

    monkeypatch.setattr(room.ladder, "end", end)
    own._context.experiment = SimpleNamespace(phases=SimpleNamespace(hold_ns=3600 * SECOND))
    own.all[0].at_ns = CLOCK.now_ns()


async def test_what_a_healed_injection_left_keeps_its_lease_until_the_run_is_over(tmp_path, monkeypatch):
    bench, disk = Bench(monkeypatch), Disk()
    own = broken(tmp_path, disk, "a")
    letting_go(own, monkeypatch)
    await own.heal_all()
    assert disk.stated == ["heal_intended", "fault_healed"]
    (kept,) = Leases(tmp_path).all()
    assert kept.deadline_ns > CLOCK.now_ns() + 3600 * SECOND
    assert not own.in_force()
    await own.heal_all()
    assert bench.undone == []
    await own.clear_away()
    assert bench.undone == ["a"]
    assert not Leases(tmp_path).all()
    assert own.unhealed == []


async def test_what_cannot_be_taken_away_is_not_healed(tmp_path, monkeypatch):
    disk = Disk()
    own = broken(tmp_path, disk, "a")
    letting_go(own, monkeypatch)
    await own.heal_all()

    async def undo(testbed: object, lease: Lease) -> Cleared:
        raise HealError("it hangs")

    monkeypatch.setattr(room.ladder, "undo", undo)
    await own.clear_away()
    assert own.unhealed == ["a"]
    assert disk.stated[-1] == "heal_failed"
    assert Leases(tmp_path).all()


async def test_an_end_that_cannot_let_go_is_undone(monkeypatch):
    async def let_go(*told: Any) -> Cleared:
        raise StackError("no answer")

    Bench(monkeypatch)
    monkeypatch.setitem(ladder.FAULTS, "mute", replace(FAULTS["mute"], let_go=let_go))
    assert await ladder.end(SimpleNamespace(), replace(lease("a"), fault="mute")) == (Cleared(1, 2), False)


@pytest.mark.parametrize("error", [AttributeError("client"), RuntimeError("loop"), TypeError("memo")])
async def test_undo_that_ends_in_any_error_is_a_heal_error(monkeypatch, error):
    async def undo(*told: Any) -> Cleared:
        raise error

    monkeypatch.setitem(ladder.FAULTS, "kill", replace(FAULTS["kill"], undo=undo))
    with pytest.raises(HealError, match="cannot be undone"):
        await ladder.undo(SimpleNamespace(), replace(lease("a"), fault="kill"))


def test_lease_outlasts_the_slowest_injection():
    assert room._LEASE_NS > room._INJECT_DEADLINE_S * SECOND


class Told:
    """What a driver is called with and how it ends: cut off, or by an error of its own."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.drawn: list[int] = []
        self.cut_ns = 0

    async def during(self, bench: object, on: str, params: object, memo: object, tag: str, force: Force) -> None:
        self.drawn = [force.rng.randint(0, 1000) for _ in range(5)]
        if self.error is not None:
            raise self.error
        try:
            await asyncio.sleep(60)
        finally:
            self.cut_ns = CLOCK.now_ns()


async def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told, name: str = "a") -> tuple[Disk, Bench]:
    bench, disk = Bench(monkeypatch), Disk()
    own = broken(tmp_path, disk, name)
    own._context.seed, own._context.run_id = 7, "r"
    injection = own.all[0]
    injection.fault = replace(FAULTS["flap"], during=told.during)
    injection.heal_due_ns = CLOCK.now_ns() + SECOND // 20
    await own._keep(injection)
    await own._heal(injection)
    return disk, bench


async def test_driver_is_cut_off_when_the_fault_is_due_to_be_healed(tmp_path, monkeypatch):
    told = Told()
    disk, bench = await driven(tmp_path, monkeypatch, told)
    assert told.cut_ns > 0
    assert bench.undone == ["a"]
    assert disk.stated == ["heal_intended", "fault_healed"]


@pytest.mark.parametrize("error", [StackError("gone"), TimeoutError("slow"), ConnectionResetError("cut")])
async def test_fault_that_can_no_longer_be_driven_has_failed_and_is_healed_at_once(tmp_path, monkeypatch, error):
    disk, bench = await driven(tmp_path, monkeypatch, Told(error))
    assert bench.undone == ["a"]
    assert disk.stated == ["fault_failed", "heal_intended", "fault_healed"]


async def test_chances_of_a_driver_follow_from_seed_and_step_alone(tmp_path, monkeypatch):
    told = [Told(), Told(), Told()]
    for one, name in zip(told, ("a", "a", "b"), strict=True):
        await driven(tmp_path, monkeypatch, one, name)
    assert told[0].drawn == told[1].drawn != told[2].drawn


class Acting:
    """A fault that is injected as told, and what was done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
        self.injected = 0
        self._act = act
        self.bench = Bench(monkeypatch)

    async def inject(self, bench: object, on: str, params: object, memo: object, tag: str) -> dict[str, Any]:
        self._act()
        self.injected += 1
        return {}


def planned(tmp_path: Path, disk: Disk, acting: Acting) -> tuple[Injections, Injection]:
    own = broken(tmp_path / "leases", disk)
    own._context.run_id = "r"
    own._context.testbed = SimpleNamespace(directory=tmp_path / "testbed")
    step = Step("a", 0, SECOND, "down", "redis", "proxy", NoParams())
    injection = Injection(step, replace(FAULTS["down"], inject=acting.inject), 0)
    own.all.append(injection)
    return own, injection


class StandsStill(Disk):
    """This process stands still after its intent is on disk; its watchdog undoes and closes what is overdue."""

    def __init__(self, leases: Path) -> None:
        super().__init__()
        self._leases = Leases(leases)

    def append(self, kind: str, **fields: Any) -> int:
        if kind == "fault_intended":
            for lease in self._leases.all():
                self._leases.close(lease)
        return super().append(kind, **fields)


async def test_nothing_is_broken_under_a_lease_that_was_closed_for_us(tmp_path, monkeypatch):
    acting = Acting(monkeypatch, lambda: None)
    disk = StandsStill(tmp_path / "leases")
    own, injection = planned(tmp_path, disk, acting)
    await own._inject(injection)
    assert acting.injected == 0
    assert "fault_failed" in disk.stated


async def test_what_was_broken_while_its_lease_was_closed_is_undone_at_once(tmp_path, monkeypatch):
    leases = Leases(tmp_path / "leases")
    acting = Acting(monkeypatch, lambda: [leases.close(lease) for lease in leases.all()])
    disk = Disk()
    own, injection = planned(tmp_path, disk, acting)
    await own._inject(injection)
    assert acting.injected == 1
    assert acting.bench.undone == ["a"]
    assert "fault_injected" not in disk.stated


async def test_what_is_injected_in_time_stays_until_it_is_healed(tmp_path, monkeypatch):
    acting = Acting(monkeypatch, lambda: None)
    disk = Disk()
    own, injection = planned(tmp_path, disk, acting)
    await own._inject(injection)
    assert (injection.state, acting.bench.undone) == ("injected", [])
    await own.heal_all()
    assert acting.bench.undone == ["a"]
    assert Leases(tmp_path / "leases").all() == []
