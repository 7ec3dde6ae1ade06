"""How stacks come to be and how they end: side by side, with fixed ports, without what they need."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace

import pytest

from chaosd.kernel.errors import StackError, UsageError
from chaosd.process import spawn
from chaosd.stack.address import Address
from chaosd.stack.parts.table import PARTS
from chaosd.stack.parts.toxiproxy.client import Toxiproxy
from chaosd.stack.ports import Ports, PortTaken
from chaosd.stack.providers.embedded import EmbeddedProvider
from chaosd.stack.providers.external import COMPOSE, ExternalProvider, Upstreams
from chaosd.stack.stack import Stack


async def test_two_stacks_run_side_by_side_and_one_ends_alone(stack, tmp_path):
    provider, folder = EmbeddedProvider(), tmp_path / "second"
    (folder / "leases").mkdir(parents=True)
    second = await provider.up(folder, str(folder))
    try:
        await second.toxiproxy.add_toxic("redis", "only-here", "latency", "downstream", {"latency": 5})
        # Both adapters in one process: the library's address is global, the adapters' are not.
        assert set(await second.toxiproxy.toxics("redis")) == {"only-here"}
        assert await stack.toxiproxy.toxics("redis") == {}
        handles = [second.handle(name) for name in PARTS]
        assert all(spawn.alive(handle) for handle in handles)
    finally:
        await provider.down(second)
    assert not any(spawn.alive(handle) for handle in handles)
    assert spawn.marked(str(folder)) == []
    await provider.down(second)
    assert [path.name for path in folder.iterdir()] == ["leases"], "what others put there stays"
    (folder / "leases").rmdir()
    await provider.down(second)
    assert not folder.exists()
    for name in PARTS:
        await stack.ready(name)


async def test_a_stack_is_rebuilt_from_its_folder(stack):
    other = Stack.open(stack.folder)
    assert other.record == stack.record
    with pytest.raises(UsageError, match="did you mean 'redis'"):
        other.part("rediss")


async def test_a_fixed_port_in_use_is_told_with_its_owner_and_nothing_is_left(tmp_path):
    folder = tmp_path / "bed"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} \(redis\) is in use by process {os.getpid()}") as caught:
            await EmbeddedProvider().up(folder, str(folder), Ports(redis=port))
    assert "remedy" in str(caught.value)
    assert not folder.exists()


async def test_a_missing_binary_is_told_with_the_variable_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_REDIS_SERVER", str(tmp_path / "nowhere"))
    folder = tmp_path / "bed"
    with pytest.raises(StackError, match="CHAOSD_REDIS_SERVER"):
        await EmbeddedProvider().up(folder, str(folder))
    assert not folder.exists()


async def test_a_part_that_does_not_start_is_told_with_its_log_and_nothing_is_left(tmp_path, monkeypatch):
    fake = tmp_path / "redis-server"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "Redis server v=7.2.0"; exit; }\necho "no luck today"\nexit 1\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("CHAOSD_REDIS_SERVER", str(fake))
    folder = tmp_path / "bed"
    with pytest.raises(StackError, match="redis ended while starting") as caught:
        await EmbeddedProvider().up(folder, str(folder))
    assert "no luck today" in str(caught.value)
    assert not folder.exists()
    assert spawn.marked(str(folder)) == []


async def test_a_cancelled_start_leaves_nothing(tmp_path):
    folder = tmp_path / "bed"
    seen = asyncio.Event()

    def watch(step: str, share: float) -> None:
        if step == "redis" and share >= 1:
            seen.set()

    task = asyncio.create_task(EmbeddedProvider().up(folder, str(folder), None, watch))
    async with asyncio.timeout(20):
        await seen.wait()
        assert spawn.marked(str(folder))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert spawn.marked(str(folder)) == []
    assert not folder.exists()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_stack_up_leaves_nothing(tmp_path, sig):
    env = {**os.environ, "CHAOSD_STATE": str(tmp_path)}
    folder = tmp_path / "testbeds" / "x"
    argv = (sys.executable, "-m", "chaosd", "stack", "up", "--name", "x")
    handle = spawn.start(spawn.Recipe(argv, env, str(tmp_path), str(tmp_path / "log")), "test")
    async with asyncio.timeout(30):
        while not spawn.marked(str(folder)):
            assert spawn.alive(handle), (tmp_path / "log").read_text()
            await asyncio.sleep(0.005)
    spawn.send_signal(handle, sig)
    assert await asyncio.to_thread(spawn.wait_gone, handle, 20)
    assert spawn.marked(str(folder)) == []
    assert not folder.exists()


def places_of(stack: Stack, spare: Ports) -> object:
    """The session's stack as if somebody else ran it, its proxies made anew on other ports."""
    inner = {proxy.part: proxy.upstream for proxy in stack.proxies()}
    proxied = stack.endpoints.proxied
    return replace(
        COMPOSE,
        direct=stack.endpoints.direct,
        # Kafka advertises one proxied port, so that proxy is shared; the others are the provider's own.
        proxied=replace(
            proxied,
            redis=Address("127.0.0.1", spare.redis_proxied),
            postgres=replace(proxied.postgres, port=spare.postgres_proxied),
        ),
        toxiproxy=stack.part("toxiproxy").address,
        upstreams=Upstreams(inner["redis"], inner["postgres"], inner["kafka"]),
        listen_host="127.0.0.1",
    )


async def test_an_external_stack_gets_the_proxies_that_are_missing(stack, tmp_path):
    places = places_of(stack, Ports().chosen())
    client = Toxiproxy(places.toxiproxy)
    mine = {proxy.name: proxy for proxy in stack.proxies()}
    for name in ("redis", "postgres"):
        await client.delete_proxy(name)
    try:
        outside = await ExternalProvider(places).up(tmp_path / "outside", "outside")
        assert outside.capabilities == {"proxy"}
        assert {part.origin for part in outside.record.parts.values()} == {"external"}
        for name in ("redis", "postgres", "kafka"):
            await PARTS[name].round_trip(outside.endpoints.proxied.of(name))
        with pytest.raises(StackError, match="did not start redis"):
            await outside.stop_part("redis", kill=True)
        await ExternalProvider(places).down(outside)
        assert not (tmp_path / "outside").exists()
        await stack.ready("redis")
    finally:
        for name in ("redis", "postgres"):
            await client.delete_proxy(name)
        await client.populate(mine.values())
        client.close()


async def test_an_external_broker_that_leads_past_the_proxy_is_refused_and_its_proxy_is_removed(stack, tmp_path):
    spare = Ports().chosen()
    places = places_of(stack, spare)
    elsewhere = Address("127.0.0.1", spare.kafka_proxied)
    places = replace(places, proxied=replace(stack.endpoints.proxied, kafka=elsewhere))
    await stack.toxiproxy.delete_proxy("kafka-1")
    try:
        with pytest.raises(StackError, match="past it") as caught:
            await ExternalProvider(places).up(tmp_path / "outside", "outside")
        assert str(elsewhere) in caught.value.remedy
        assert set(await stack.toxiproxy.list()) == {"redis", "postgres"}
        assert not (tmp_path / "outside").exists()
    finally:
        await stack.repopulate()
