"""Every fault, on a real stack: the judge itself finds in the rows of canaries and samples that it bites and heals."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import socket
import time
from contextlib import ExitStack

import asyncpg
import pytest
from fault_bench import CLOCK, break_and_mend, run_facts, watching
from waits import until

from chaosd.faults.table import FAULTS
from chaosd.journal.columns import Path, ProbeOutcome
from chaosd.journal.model import InjectionFacts
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.errors import StackError
from chaosd.process import spawn
from chaosd.testbed import record as records
from chaosd.testbed import tongues
from chaosd.testbed.testbed import PARTS, PROCESSES, Testbed
from chaosd.testbed.usage import Usage, sample_exposure, snapshot
from chaosd.testbed.wire import Wire, dial
from chaosd.verification.exposure import judge_fault


@pytest.fixture(scope="module")
async def bed(stack):
    """The session's stack with the reference pipeline on it."""
    record = records.Record(name="faults", marker=stack.record.marker, provider="embedded", kept=True)
    records.save(stack.folder, record)
    testbed = Testbed(stack.folder, stack, CLOCK)
    await testbed.deploy("reference")
    await testbed.target_ready()
    yield testbed
    await testbed.end_target()
    (stack.folder / records.FILE).unlink()


NETWORK = [
    ("latency", {"latency": "300ms"}),
    ("latency", {"latency": "150ms", "direction": "both"}),
    ("latency", {"latency": "200ms", "jitter": "50ms", "direction": "upstream"}),
    ("latency", {"latency": {"from": "0ms", "to": "200ms"}}),
    ("bandwidth", {"rate": "50KB/s", "direction": "both"}),
    ("slicer", {"size": "60B", "variation": "20B", "delay": "2ms", "direction": "both"}),
    ("limit_data", {"bytes": "20KB", "direction": "both"}),
    ("slow_close", {"delay": "300ms", "direction": "both"}),
    ("flap", {"down": "600ms", "up": "400ms"}),
    ("reset", {}),
    ("blackhole", {"direction": "downstream"}),
    ("blackhole", {"direction": "upstream"}),
    ("mute", {}),
    ("down", {}),
]


@pytest.mark.parametrize(("name", "words"), NETWORK)
async def test_network_fault_bites_on_the_proxied_path_only_and_heals(bed, name, words):
    # A ramp needs its time to be seen, and so does a time-out: the probe that was under way first, then one of its own.
    # What few transfers show does not.
    needed_s = {"blackhole": 3.2, "mute": 3.2, "slicer": 1.4, "limit_data": 1.4, "slow_close": 1.4}
    lasts_s = 4.5 if "from" in str(words) else needed_s.get(name, 2.2)
    verdicts, watch, cleared = await break_and_mend(bed, name, PARTS, words, lasts_s)
    for part, verdict in verdicts.items():
        assert verdict.bite == "proved", (part, verdict.evidence)
        assert verdict.healed == "proved", (part, verdict.evidence)
        assert watch.outcomes(part, Path.DIRECT) == {ProbeOutcome.OK}
        assert cleared[part].high_ns - cleared[part].low_ns < SECOND
    assert verdicts["kafka"].exposed == "proved", verdicts["kafka"].evidence
    assert not verdicts["kafka"].bypass
    assert all(not state.toxics and state.enabled for state in (await bed.stack.toxiproxy.list()).values())


async def test_connections_survive_a_mute_and_what_was_on_its_way_does_not(bed):
    fault, tag = FAULTS["mute"], "chaosd-test-mute"
    params = fault.params.model_validate({})
    memo = await fault.prepare(bed, "redis", params)
    address = bed.stack.endpoints.proxied.redis
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"PING\r\n")
    assert await asyncio.wait_for(reader.readline(), 2) == b"+PONG\r\n"
    await fault.inject(bed, "redis", params, memo, tag)
    writer.write(b"ECHO lost\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), 0.5)
    await fault.let_go(bed, "redis", params, memo, tag)
    writer.write(b"ECHO later\r\n")
    assert [await asyncio.wait_for(reader.readline(), 2) for _ in range(2)] == [b"$5\r\n", b"later\r\n"]
    await fault.undo(bed, "redis", params, memo, tag)
    assert await asyncio.wait_for(reader.readline(), 2) == b""
    writer.close()
    assert not (await bed.stack.toxiproxy.toxics("redis"))


async def test_fault_that_was_not_injected_is_not_proved(bed):
    """The same canaries without a fault: the proof of a latency does not stand by itself."""
    fault = FAULTS["latency"]
    params = fault.params.model_validate({"latency": "300ms"})
    async with watching(bed) as watch:
        started_ns = CLOCK.now_ns()
        await asyncio.sleep(1.2)
        call_ns = CLOCK.now_ns()
        await asyncio.sleep(1.2)
        clear_ns = CLOCK.now_ns()
    injection = InjectionFacts(
        "i", "latency", "redis", {}, call_ns, SECOND, fault.bite("redis", params), (), (), call_ns, call_ns, clear_ns,
        clear_ns, "conductor", "healed",
    )  # fmt: skip
    assert judge_fault(run_facts(injection, started_ns), watch.evidence(), injection).bite == "missing"


PROCESS = [
    ("restart", (*PARTS, "target"), 0.0),
    ("restart", ("toxiproxy",), 0.5),
    ("kill", (*PARTS, "target"), 0.5),
    ("kill", ("toxiproxy",), 0.0),
    ("pause", (*PARTS, "target"), 1.5),
    ("pause", ("toxiproxy",), 1.5),
]


@pytest.mark.parametrize(("name", "ons", "for_s"), PROCESS)
async def test_process_fault_bites_and_heals(bed, name, ons, for_s):
    before = {on: bed.handle(on) for on in ons}
    verdicts, watch, _ = await break_and_mend(bed, name, ons, {}, for_s)
    for on, verdict in verdicts.items():
        assert verdict.bite == "proved", (on, verdict.evidence)
        assert verdict.healed == "proved", (on, verdict.evidence)
        assert (bed.handle(on) == before[on]) is (name == "pause")
        assert spawn.alive(bed.handle(on))
        if on in PARTS and name == "pause":
            assert ProbeOutcome.TIMEOUT in watch.outcomes(on, Path.DIRECT)


async def test_kept_connection_that_is_cut_while_idle_is_evidence_at_once(bed):
    async with watching(bed) as watch:
        await asyncio.sleep(0.5)
        cut_ns = CLOCK.now_ns()
        await bed.stack.toxiproxy.set_enabled("redis", False)
        await bed.stack.toxiproxy.set_enabled("redis", True)
        await asyncio.sleep(0.3)
    lost = [row for row in watch.rows if row[5] == ProbeOutcome.EOF]
    assert lost
    assert all(row[4] - cut_ns < 200 * MS for row in lost)


async def test_undo_of_reset_leaves_a_proxy_closed_that_down_has_closed(bed):
    down, reset = FAULTS["down"], FAULTS["reset"]
    params = down.params()
    memo = await down.prepare(bed, "redis", params)
    await reset.inject(bed, "redis", params, memo, "t-reset")
    await down.inject(bed, "redis", params, memo, "t-down")
    await reset.undo(bed, "redis", params, memo, "t-reset")
    assert not (await bed.stack.toxiproxy.list())["redis"].enabled
    await down.undo(bed, "redis", params, memo, "t-down")
    state = (await bed.stack.toxiproxy.list())["redis"]
    assert state.enabled
    assert not state.toxics


async def test_undo_of_an_injection_that_never_happened_changes_nothing(bed):
    for name, fault in FAULTS.items():
        if fault.needs not in ("proxy", "restart"):
            continue
        params = fault.params.model_validate(
            {
                "latency": {"latency": "1s"},
                "bandwidth": {"rate": "1KB/s"},
                "slicer": {"size": "64B", "delay": "2ms"},
                "limit_data": {"bytes": "1KB"},
                "slow_close": {"delay": "1s"},
                "flap": {"down": "1s", "up": "1s"},
            }.get(name, {})
        )
        before = bed.handle("redis")
        memo = await fault.prepare(bed, "redis", params)
        await fault.undo(bed, "redis", params, memo, "t-never")
        assert bed.handle("redis") == before
        assert spawn.state(before) not in ("T", "")


async def test_toxics_of_a_dead_toxiproxy_are_healed_by_its_death(bed):
    fault = FAULTS["latency"]
    params = fault.params.model_validate({"latency": "300ms"})
    memo = await fault.prepare(bed, "redis", params)
    await fault.inject(bed, "redis", params, memo, "t-dead")
    await bed.stack.stop_part("toxiproxy", kill=True)
    try:
        cleared = await fault.undo(bed, "redis", params, memo, "t-dead")
    finally:
        await bed.stack.start_part("toxiproxy")
    assert "toxiproxy" in cleared.evidence
    assert not (await bed.stack.toxiproxy.list())["redis"].toxics


async def test_fault_on_a_process_that_does_not_run_is_refused(bed):
    fault = FAULTS["pause"]
    await bed.stack.stop_part("redis", kill=True)
    try:
        with pytest.raises(StackError, match="redis does not run"):
            await fault.prepare(bed, "redis", fault.params())
    finally:
        await bed.start("redis")


async def test_resources_show_a_stopped_and_a_gone_process(bed):
    usage = Usage(bed, CLOCK)
    redis = PROCESSES.index("redis")

    def state() -> int:
        _, resources = usage.sample()
        return int(resources[resources["process"] == redis]["state"][0])

    assert state() == 1
    bed.signal("redis", signal.SIGSTOP)
    try:
        await until(lambda: state() == 2, "the stop of Redis, which it does in its own time")
    finally:
        bed.signal("redis", signal.SIGCONT)
    await bed.stack.stop_part("redis", kill=True)
    try:
        assert state() == 0
    finally:
        await bed.start("redis")


async def test_exposure_counts_sockets_by_the_port_they_go_to(bed):
    """This process stands in for a target: three connections to Redis' proxy, one past it."""
    proxied, direct = bed.stack.endpoints.proxied.redis, bed.stack.endpoints.direct.redis
    with ExitStack() as open_sockets:
        for address in (proxied, proxied, proxied, direct):
            open_sockets.enter_context(socket.create_connection((address.host, address.port)))
        rows = sample_exposure([os.getpid()], {"redis": [proxied.port]}, {"redis": [direct.port]}, 7)
    assert rows.tolist() == [(7, 0, 3, 1), (7, 1, 0, 0), (7, 2, 0, 0)]


async def test_sample_takes_little_time(bed):
    """Of the processor, and by process: how long it waits, and how many others the machine has, is not its doing."""
    usage = Usage(bed, CLOCK)
    took = []
    for _ in range(5):
        began_ns = time.thread_time_ns()
        usage.sample()
        took.append(time.thread_time_ns() - began_ns)
    assert min(took) < len(snapshot()) * MS / 2


async def test_canary_logs_in_with_a_password_where_postgres_wants_one(bed):
    rules = pathlib.Path(bed.stack.part("postgres").recipe.cwd) / "pg_hba.conf"
    trusting = rules.read_text()
    own = bed.stack.endpoints.direct.postgres
    connection = await asyncpg.connect(own.dsn)
    try:
        await connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'pencil'")
        rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + trusting)
        await connection.execute("SELECT pg_reload_conf()")
        address = bed.stack.endpoints.direct.of("postgres")
        async with asyncio.timeout(10):
            # The rules are read by another process, a moment later: then the wrong password is refused.
            while isinstance(
                wire := await dial(address, tongues.postgres("guarded", "no", own.database), CLOCK, 1.0), Wire
            ):
                wire.close()
                await asyncio.sleep(0.02)
        tongue = tongues.postgres("guarded", "pencil", own.database)
        wire = await dial(address, tongue, CLOCK, 1.0)
        assert isinstance(wire, Wire)
        assert (await wire.ask(tongue.ping, 1.0)).outcome is ProbeOutcome.OK
        wire.close()
    finally:
        rules.write_text(trusting)
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute("DROP ROLE IF EXISTS guarded")
        await connection.close()
