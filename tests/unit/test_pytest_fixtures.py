"""What the fixtures are made of, without a stack: the turn to judge, shared runs, parameters of faults, envelopes."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from pathlib import Path

import pytest
from pydantic import ValidationError

from chaosd.conductor.follow import Ending
from chaosd.envelope import poison, wire
from chaosd.envelope.kinds import EventType
from chaosd.envelope.model import EventEnvelope
from chaosd.faults.table import FAULTS
from chaosd.kernel.errors import Exit, UsageError
from chaosd.process import patience
from chaosd.pytest_plugin.envelopes import ChaosEnvelopes
from chaosd.pytest_plugin.injecting import Faults, parameters
from chaosd.pytest_plugin.judged import SharedRuns, locked, machine_lock

ENDING = Ending("run-1", Path("/runs/run-1"), "FAIL", ("no_loss:LOST",), Exit.FAIL, "", "")


async def test_one_turn_at_a_time_and_who_waits_is_told(tmp_path):
    told, order = [], []

    async def take(name: str) -> None:
        async with locked(tmp_path / "lock", lambda: told.append(name)):
            order.append(name)
            await asyncio.sleep(0.05)
            order.append(name)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(take(name))
    assert [order[n] for n in (0, 2, 4)] == [order[n] for n in (1, 3, 5)]
    assert sorted({*told, order[0]}) == ["a", "b", "c"]
    assert len(told) == 2


def _hold(path: Path, held: multiprocessing.synchronize.Event) -> None:
    async def hold() -> None:
        async with locked(path):
            held.set()
            await asyncio.sleep(60)

    asyncio.run(hold())


async def test_the_turn_of_a_process_that_is_killed_is_free_again(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "lock", held))
    other.start()
    assert await asyncio.to_thread(held.wait, 30)
    told: list[str] = []
    waiting = asyncio.create_task(_enter(tmp_path / "lock", told))
    while not told:
        await asyncio.sleep(0.01)
    assert not waiting.done()
    other.kill()
    async with asyncio.timeout(10):
        await waiting
    other.join()


async def _enter(path: Path, told: list[str]) -> None:
    async with locked(path, lambda: told.append("waits")):
        pass


def test_the_turn_is_one_for_the_machine_whatever_the_state_folder(monkeypatch, tmp_path):
    before = machine_lock()
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path))
    assert machine_lock() == before


async def test_a_lock_that_others_own_needs_no_right_to_write(tmp_path):
    path = tmp_path / "lock"
    path.touch(mode=0o444)
    async with locked(path):
        pass


async def test_an_experiment_is_run_by_one_worker_and_known_to_the_others(tmp_path):
    runs, seen = [], []

    async def worker(name: str) -> None:
        shared = SharedRuns(tmp_path)
        async with shared.turn("late.chaos.yaml::late") as known:
            if known is None:
                runs.append(name)
                await asyncio.sleep(0.05)
                shared.keep("late.chaos.yaml::late", ENDING)
            seen.append(known or ENDING)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(worker(name))
    assert len(runs) == 1
    assert seen == [ENDING] * 3


async def test_a_run_that_its_worker_did_not_finish_is_made_by_the_next(tmp_path):
    shared = SharedRuns(tmp_path)
    with pytest.raises(RuntimeError):
        async with shared.turn("one"):
            raise RuntimeError
    async with shared.turn("one") as known:
        assert known is None


def test_units_may_stand_in_the_names_of_parameters():
    assert parameters(FAULTS["latency"], {"latency_ms": 400}).latency_ms == (400, 400)
    assert parameters(FAULTS["latency"], {"latency_s": 1.5, "jitter": "10ms"}).latency_ms == (1500, 1500)
    assert parameters(FAULTS["bandwidth"], {"rate_kb_s": 50}).rate_kb_s == (50, 50)


@pytest.mark.parametrize(
    ("fault", "given", "told"),
    [
        ("latency", {"latencie_ms": 400}, "did you mean 'latency'?"),
        ("latency", {}, "the key 'latency' is missing"),
        ("latency", {"latency_ms": -1}, "latency"),
        ("latency", {"latency_ms": 1, "direction": "sideways"}, "one of upstream, downstream, both"),
        ("down", {"hard": True}, "unknown key"),
    ],
)
def test_wrong_parameters_are_told_in_words(fault, given, told):
    with pytest.raises(UsageError) as caught:
        parameters(FAULTS[fault], given)
    assert told in str(caught.value)
    assert f"chaos_fault.{fault}" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda faults: faults.latencie("redis"), "did you mean 'latency'?"),
        (lambda faults: faults.latency("moon", latency_ms=1), "cannot be done to 'moon'"),
        (lambda faults: faults("nothing", "redis"), "there is no fault 'nothing'"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_before_anything_is_broken(call, told):
    with pytest.raises(UsageError) as caught:
        call(Faults(None, "test"))
    assert told in str(caught.value)


def test_envelopes_of_a_seed_have_the_same_ids_and_prices():
    one, other = (list(ChaosEnvelopes(7).ticks(5)) for _ in range(2))
    assert [(e.id, e.data["price"]) for e in one] == [(e.id, e.data["price"]) for e in other]
    assert one[0].id != next(ChaosEnvelopes(8).ticks(1)).id


def test_an_envelope_is_one_for_both_codecs_and_a_child_follows_its_parent():
    envelopes = ChaosEnvelopes(0)
    tick = envelopes.tick("ACME", "1.10")
    assert wire.encode(wire.decode(envelopes.wire(tick))) == envelopes.wire(tick)
    child = envelopes.child(tick, EventType.TRADING_SIGNAL)
    assert (child.correlation_id, child.trace_id) == (tick.correlation_id, tick.trace_id)
    assert child.causation_id == child.parent_trace_id == tick.id != child.id


@pytest.mark.parametrize("kind", poison.KINDS)
def test_every_kind_of_poison_is_made_and_never_twice_the_same(kind):
    envelopes = ChaosEnvelopes(0)
    one, other = envelopes.poison(kind), envelopes.poison(kind)
    assert one != other
    if kind not in ("not_json", "wrong_encoding", "oversized"):
        assert json.loads(one)["source"] == "chaos_envelopes"
    if kind in ("not_json", "unknown_enum", "wrong_encoding"):
        with pytest.raises(ValidationError):
            EventEnvelope.model_validate_json(one)


@pytest.mark.parametrize("given", ["0", "-1", "1000", "fast", "nan"])
def test_a_patience_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv(patience.VARIABLE, given)
    with pytest.raises(UsageError, match=patience.VARIABLE):
        patience.scale()


def test_patience_is_handed_on_by_the_environment(monkeypatch):
    monkeypatch.delenv(patience.VARIABLE, raising=False)
    assert patience.scale() == 1
    monkeypatch.setenv(patience.VARIABLE, "1")
    patience.set_for_children(2.5)
    assert patience.scale() == 2.5
