"""What the adapter promises, and the facts about the server that chaosd's faults rest on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
import toxiproxy

from chaosd.kernel.errors import UsageError
from chaosd.stack.address import Address
from chaosd.stack.handle import Proxy
from chaosd.stack.parts.toxiproxy.client import Toxiproxy, ToxiproxyError
from chaosd.stack.ports import free_ports


@pytest.fixture
async def client(stack):
    """The adapter; every proxy is as it was after the test."""
    yield stack.toxiproxy
    for proxy in stack.proxies():
        for name in await stack.toxiproxy.toxics(proxy.name):
            await stack.toxiproxy.remove_toxic(proxy.name, name)
    await stack.repopulate()


@pytest.fixture
def silent_server():
    """A fake: takes connections and never answers, as a Toxiproxy does that hangs on the removal of a toxic."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("127.0.0.1", server.getsockname()[1])


async def ping(stack, limit_s: float = 1.0) -> float:
    """Milliseconds of a PING through the proxy, on a fresh connection."""
    place = stack.endpoints.proxied.redis
    async with asyncio.timeout(limit_s):
        reader, writer = await asyncio.open_connection(place.host, place.port)
        began = time.monotonic()
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        if answer != b"+PONG\r\n":
            raise ConnectionResetError
        return (time.monotonic() - began) * 1000


async def test_the_version_is_the_pinned_one(client):
    assert await client.version() == "2.12.0"


async def test_a_toxic_is_in_force_when_the_call_returns_and_gone_after_its_removal(stack, client):
    toxic = await client.add_toxic("redis", "t", "latency", "downstream", {"latency": 120})
    assert (toxic.type, toxic.stream, toxic.toxicity, toxic.attributes["latency"]) == (
        "latency",
        "downstream",
        1.0,
        120,
    )
    assert await ping(stack) >= 110
    await client.remove_toxic("redis", "t")
    assert await ping(stack) < 100


async def test_an_update_changes_what_it_names(client):
    await client.add_toxic("redis", "t", "latency", "upstream", {"latency": 10, "jitter": 5})
    toxic = await client.update_toxic("redis", "t", {"latency": 20})
    assert dict(toxic.attributes) == {"latency": 20, "jitter": 5}


async def test_an_update_of_an_absent_toxic_raises(client):
    with pytest.raises(ToxiproxyError, match="has no toxic"):
        await client.update_toxic("redis", "absent", {"latency": 20})


async def test_removing_what_is_absent_is_fine(client):
    await client.remove_toxic("redis", "absent")
    await client.remove_toxic("absent", "absent")
    await client.delete_proxy("absent")


async def test_names_of_toxics_are_unique_over_both_streams(client):
    await client.add_toxic("redis", "t", "latency", "upstream", {"latency": 1})
    with pytest.raises(ToxiproxyError, match="add toxic t to redis"):
        await client.add_toxic("redis", "t", "latency", "downstream", {"latency": 1})


async def test_a_toxic_for_an_absent_proxy_raises(client):
    with pytest.raises(ToxiproxyError, match="no proxy 'absent'"):
        await client.add_toxic("absent", "t", "latency", "upstream", {"latency": 1})


async def test_a_disabled_proxy_refuses_and_an_enabled_one_serves(stack, client):
    await client.set_enabled("redis", False)
    with pytest.raises(ConnectionRefusedError):
        await ping(stack)
    await client.set_enabled("redis", True)
    await ping(stack)


async def test_a_removed_timeout_toxic_closes_the_connection(stack, client):
    place = stack.endpoints.proxied.redis
    reader, writer = await asyncio.open_connection(place.host, place.port)
    await client.add_toxic("redis", "t", "timeout", "downstream", {"timeout": 0})
    writer.write(b"PING\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.readline()
    await client.remove_toxic("redis", "t")
    async with asyncio.timeout(2):
        assert await reader.readline() == b""
    writer.close()


async def test_populate_leaves_alone_what_is_right_and_mends_what_is_not(stack, client):
    await client.add_toxic("redis", "t", "latency", "upstream", {"latency": 1})
    await client.set_enabled("postgres", False)
    await client.delete_proxy("kafka-1")
    await stack.repopulate()
    present = await client.list()
    assert [toxic.name for toxic in present["redis"].toxics] == ["t"]
    assert all(state.enabled for state in present.values())
    assert set(present) == {"redis", "postgres", "kafka-1"}


async def test_a_proxy_on_a_port_that_is_taken_raises(stack, client):
    proxy = stack.proxies()[0]
    with pytest.raises(ToxiproxyError, match="create proxy second"):
        await client.create_proxy("second", proxy.listen, proxy.upstream)
    assert "second" not in await client.list()


async def test_a_proxy_comes_and_goes(stack, client):
    (port,) = free_ports(1, set())
    state = await client.create_proxy("third", f"127.0.0.1:{port}", stack.proxies()[0].upstream)
    assert (state.enabled, state.listen) == (True, f"127.0.0.1:{port}")
    await client.populate([Proxy("third", "redis", state.listen, state.upstream)])
    await client.delete_proxy("third")
    assert "third" not in await client.list()


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("bandwidth", {"rate": -1}),  # ends the server
        ("slicer", {"average_size": 0}),  # ends the server
        ("slicer", {"average_size": 10, "size_variation": 10}),  # ends the server
        ("latency", {"latnecy": 10}),  # silently ignored
        ("latency", {"latency": 1.5}),  # refused
        ("lateness", {}),
    ],
)
async def test_toxics_that_the_server_would_misunderstand_are_not_sent(client, kind, attributes):
    with pytest.raises(UsageError):
        await client.add_toxic("redis", "t", kind, "downstream", attributes)
    assert await client.toxics("redis") == {}


async def test_a_server_that_hangs_costs_the_deadline_and_raises(silent_server):
    client = Toxiproxy(silent_server)
    began = time.monotonic()
    with pytest.raises(ToxiproxyError, match=r"no answer within 0\.3 s|cannot be used"):
        await client.list(deadline_s=0.3)
    # The first call still waits on the adapter's thread: the second one's deadline counts that, too.
    with pytest.raises(ToxiproxyError):
        await client.remove_toxic("redis", "t", deadline_s=0.3)
    assert time.monotonic() - began < 1.0
    client.close()


async def test_a_server_that_is_not_there_raises():
    (port,) = free_ports(1, set())
    client = Toxiproxy(Address("127.0.0.1", port))
    with pytest.raises(ToxiproxyError, match="cannot be used"):
        await client.version()
    client.close()


async def test_a_proxy_of_the_environment_is_not_obeyed(stack, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert set(await stack.toxiproxy.list()) == {"redis", "postgres", "kafka-1"}


async def test_the_library_keeps_its_own_behaviour_outside_the_adapter(stack):
    place = stack.part("toxiproxy").address
    found: list[object] = []

    def use_it() -> None:
        server = toxiproxy.Toxiproxy()
        server.update_api_consumer(place.host, place.port)
        found.extend(sorted(server.proxies()))

    thread = threading.Thread(target=use_it)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert found == ["kafka-1", "postgres", "redis"]
