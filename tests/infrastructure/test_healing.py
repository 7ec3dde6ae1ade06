"""Whoever dies, what was broken is mended: by the watchdog, by `chaosd heal`, by the ladder's stronger means."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from waits import until

from chaosd.faults.table import FAULTS
from chaosd.healing import ladder
from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError
from chaosd.process import spawn
from chaosd.stack.parts.table import PARTS
from chaosd.testbed import record as records
from chaosd.testbed.testbed import Testbed, announce

CLOCK = SystemClock()
HOLDER = Path(__file__).with_name("dummy_holder.py")
QUICK = [
    ("latency", "redis", {"latency": "200ms"}),
    ("down", "postgres", {}),
    ("blackhole", "kafka", {}),
    ("pause", "redis", {}),
]


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
async def bed(stack, state):
    """The session's stack as a kept testbed, without a target; everything in it serves again after the test."""
    record = records.Record(name="session", marker=stack.record.marker, provider="embedded", kept=True)
    records.save(stack.folder, record)
    yield Testbed(stack.folder, stack, CLOCK)
    for part in ("redis", "postgres", "kafka", "toxiproxy"):
        await stack.start_part(part)
    await stack.repopulate()
    (stack.folder / records.FILE).unlink()


class Holder:
    """The dummy conductor, to be killed."""

    def __init__(self, folder: Path, **order: object) -> None:
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        order.setdefault("teardown", False)
        order["run_dir"] = str(self.run_dir)
        self.process = subprocess.Popen(
            [sys.executable, str(HOLDER), json.dumps(order)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.watchdog: spawn.Handle | None = None

    async def broken(self) -> None:
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line, "the holder ended before it had broken everything"
        self.watchdog = spawn.handle_of(json.loads(line)["watchdog"])

    def kill(self) -> int:
        self.process.kill()
        died_ns = CLOCK.now_ns()
        self.process.wait()
        return died_ns

    def facts(self, kind: str) -> list[dict]:
        path = self.run_dir / "facts-watchdog.jsonl"
        facts = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [fact for fact in facts if fact["kind"] == kind]

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def hold(tmp_path):
    holders = []

    def make(**order: object) -> Holder:
        holders.append(Holder(tmp_path, **order))
        return holders[-1]

    yield make
    for holder in holders:
        holder.close()
        if holder.watchdog:
            with suppress(ProcessLookupError):
                spawn.wait_gone(holder.watchdog, 30)


async def assert_clean(bed: Testbed) -> None:
    assert all(proxy.enabled and not proxy.toxics for proxy in (await bed.stack.toxiproxy.list()).values())
    for part in ("redis", "postgres", "kafka"):
        handle = bed.handle(part)
        assert spawn.state(handle) not in ("T", ""), part
        await PARTS[part].ready(bed.stack.endpoints.direct.of(part))


async def test_watchdog_mends_everything_when_its_conductor_is_killed(bed, hold):
    redis = bed.handle("redis")
    holder = hold(testbed=str(bed.directory), faults=[*QUICK, ("kill", "postgres", {})])
    await holder.broken()
    assert spawn.state(redis) == "T"
    died_ns = holder.kill()
    await until(lambda: not Leases().all(), within_s=20)
    await until(lambda: not spawn.alive(holder.watchdog), within_s=5)
    await assert_clean(bed)
    undone = {fact["injection"]: fact for fact in holder.facts("lease_undone")}
    assert len(undone) == 5
    assert all(fact["ok"] for fact in undone.values())
    assert all(fact["call_ns"] - died_ns < SECOND for fact in undone.values()), "undo is begun within a second"
    quick = [fact for name, fact in undone.items() if not name.startswith("kill")]
    assert all(fact["clear_high_ns"] - died_ns < SECOND for fact in quick), "toxics and pauses are gone within it"


async def test_watchdog_tears_an_ephemeral_testbed_down(state, hold):
    directory = announce("mayfly", provider="embedded", kept=False)
    bed = await Testbed.up(directory)
    marker = bed.record.marker
    holder = hold(testbed=str(directory), teardown=True, faults=[("pause", "kafka", {}), ("kill", "redis", {})])
    await holder.broken()
    bed.stack.close()
    holder.kill()
    await until(lambda: not spawn.alive(holder.watchdog), within_s=30)
    assert spawn.marked(marker) == []
    assert not directory.exists()
    assert Leases().all() == []
    assert [fact["ok"] for fact in holder.facts("torn_down")] == [True]


async def test_lease_past_its_deadline_is_undone_while_its_holder_lives(bed, hold):
    holder = hold(testbed=str(bed.directory), lasts_s=1.0, faults=[("latency", "redis", {"latency": "200ms"})])
    await holder.broken()
    await until(lambda: not Leases().all(), within_s=10)
    assert holder.process.poll() is None
    await assert_clean(bed)


async def test_disarmed_watchdog_ends_and_touches_nothing(bed, hold):
    holder = hold(testbed=str(bed.directory), faults=[("latency", "redis", {"latency": "200ms"})])
    await holder.broken()
    holder.process.stdin.write("disarm\n")
    holder.process.stdin.flush()
    assert json.loads(await asyncio.to_thread(holder.process.stdout.readline)) == {"code": 0}
    assert (await bed.stack.toxiproxy.list())["redis"].toxics
    assert len(Leases().all()) == 1
    holder.kill()
    assert heal().returncode == 0
    await assert_clean(bed)


def heal(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chaosd", "heal", *options], capture_output=True, text=True, timeout=60, check=False
    )


async def test_heal_leaves_nothing_after_conductor_and_watchdog_were_killed(bed, hold, state):
    holder = hold(testbed=str(bed.directory), faults=QUICK)
    await holder.broken()
    spawn.send_signal(holder.watchdog, signal.SIGKILL)
    holder.kill()
    orphan = announce("orphan", provider="embedded", kept=False, owner=spawn.Handle(holder.process.pid, 1))
    marker = records.load(orphan).marker
    env = {"PATH": os.environ["PATH"]}
    sleeper = spawn.start(spawn.Recipe(("sleep", "60"), env, str(orphan), str(orphan / "log")), marker)
    healed = heal()
    assert healed.returncode == 0, healed.stderr
    assert healed.stdout.count("healed: ") == len(QUICK) + 1
    await assert_clean(bed)
    assert Leases().all() == []
    assert not spawn.alive(sleeper)
    assert not orphan.exists()
    assert heal().stdout == "nothing to heal\n"


async def test_heal_leaves_a_living_run_alone_unless_forced(bed, hold):
    holder = hold(testbed=str(bed.directory), guard=False, faults=[("latency", "redis", {"latency": "200ms"})])
    await holder.broken()
    assert heal().stdout == "nothing to heal\n"
    assert (await bed.stack.toxiproxy.list())["redis"].toxics
    assert heal("--force").returncode == 0
    await assert_clean(bed)


async def test_heal_says_what_it_cannot_mend_and_exits_with_its_own_code(state):
    folder = state / "leases"
    folder.mkdir(parents=True)
    (folder / "damaged.json").write_text("{")
    healed = heal()
    assert healed.returncode == 6
    assert "NOT HEALED" in healed.stderr
    assert "Traceback" not in healed.stderr


async def broken_by_us(bed: Testbed, name: str, on: str, words: dict[str, str]) -> Lease:
    fault = FAULTS[name]
    params = fault.params.model_validate(words)
    memo = await fault.prepare(bed, on, params)
    lease = new_lease(
        run_id="ladder", injection=f"{name}-{on}", fault=name, on=on, params=words, memo=memo,
        tag=f"ladder-{name}-{on}", testbed=str(bed.directory), lasts_ns=60 * SECOND, clock=CLOCK,
    )  # fmt: skip
    await fault.inject(bed, on, params, memo, lease.tag)
    return lease


async def test_toxiproxy_that_hangs_is_restarted_once_for_all_that_wait(bed):
    leases = [await broken_by_us(bed, "latency", part, {"latency": "100ms"}) for part in ("redis", "kafka", "postgres")]
    before = bed.handle("toxiproxy")
    bed.signal("toxiproxy", signal.SIGSTOP)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        tasks = [group.create_task(ladder.undo_from_disk(lease)) for lease in leases]
    assert all(task.result().evidence["ladder"] == "Toxiproxy was restarted" for task in tasks)
    assert not spawn.alive(before)
    assert len(spawn.marked(bed.record.marker, "toxiproxy")) == 1
    bed.stack.close()
    await assert_clean(bed)


async def test_undo_by_the_faults_own_means_leaves_toxiproxy_running(bed):
    lease = await broken_by_us(bed, "latency", "redis", {"latency": "100ms"})
    before = bed.handle("toxiproxy")
    cleared = await ladder.undo(bed, lease)
    assert "ladder" not in cleared.evidence
    assert bed.handle("toxiproxy") == before
    await assert_clean(bed)


async def test_undo_of_one_fault_does_not_take_another_one_on_the_same_proxy_for_a_broken_path(bed):
    hole = await broken_by_us(bed, "blackhole", "redis", {})
    slow = await broken_by_us(bed, "latency", "redis", {"latency": "100ms"})
    before = bed.handle("toxiproxy")
    await ladder.undo(bed, slow)
    assert bed.handle("toxiproxy") == before
    assert len((await bed.stack.toxiproxy.list())["redis"].toxics) == 2
    await ladder.undo(bed, hole)
    await assert_clean(bed)


async def test_part_that_cannot_be_started_stays_unhealed_until_it_can(bed):
    lease = await broken_by_us(bed, "kill", "redis", {})
    address = bed.stack.endpoints.direct.redis
    with socket.create_server((address.host, address.port)):
        with pytest.raises(HealError, match=r"kill on redis cannot be undone: .*in use") as caught:
            await ladder.undo(bed, lease)
        assert caught.value.exit_code == 6
    await ladder.undo(bed, lease)
    await assert_clean(bed)


async def test_lease_whose_memo_is_damaged_is_an_error_and_no_crash(bed):
    lease = await broken_by_us(bed, "pause", "redis", {})
    damaged = Lease.from_json({**lease.to_json(), "memo": {}})
    with pytest.raises(HealError):
        await ladder.undo(bed, damaged)
    await ladder.undo(bed, lease)
    await assert_clean(bed)
