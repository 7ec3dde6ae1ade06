"""What the shipped Toxiproxy really does: one small test for each fact that chaosd's faults, proofs and heals rest on.

A server of its own for these tests, and a fresh one for each that ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import psutil
import pytest
import requests
from toxiproxy_lab import LIMIT_S, Server, Way, echoed, ends, silent, started, way_through

from chaosd.process import spawn
from chaosd.stack.ports import free_ports
from chaosd.stack.versions import TOXIPROXY


@pytest.fixture(scope="module")
async def toxiproxy(tmp_path_factory) -> AsyncIterator[Server]:
    made = await started(tmp_path_factory.mktemp("toxiproxy"))
    yield made
    made.end()


@pytest.fixture
async def doomed(tmp_path) -> AsyncIterator[Server]:
    """A server that a test may end."""
    made = await started(tmp_path)
    yield made
    made.end()


@pytest.fixture
async def way(toxiproxy) -> AsyncIterator[Way]:
    async with way_through(toxiproxy) as made:
        yield made


def test_the_server_is_the_version_that_these_facts_are_about(toxiproxy):
    assert toxiproxy.ask("GET", "/version").json()["version"] == TOXIPROXY


async def test_upstream_is_client_to_server_and_downstream_the_default(way):
    assert way.toxic("timeout", "upstream", timeout=0).ok
    reader, writer = await way.connect()
    assert await silent(reader, writer)
    assert not way.echo.came  # the request never arrived
    way.remove()
    body = {"name": "d", "type": "timeout", "attributes": {"timeout": 0}}
    assert way.server.ask("POST", "/proxies/way/toxics", json=body).json()["stream"] == "downstream"
    writer.close()
    reader, writer = await way.connect()
    assert await silent(reader, writer)
    assert way.echo.came == b"x"  # it did, only the answer is lost
    writer.close()


async def test_a_delay_of_one_stream_is_one_delay_of_the_round_trip(way):
    reader, writer = await way.talking()
    way.toxic("latency", "upstream", latency=120)
    assert await echoed(reader, writer) >= 0.12
    way.toxic("latency", "downstream", "u", latency=120)
    assert await echoed(reader, writer) >= 0.24
    writer.close()


async def test_a_delay_does_not_touch_the_handshake(way):
    way.toxic("latency", "downstream", latency=3000)
    way.toxic("latency", "upstream", "u", latency=3000)
    began = time.monotonic()
    _, writer = await way.connect()
    assert time.monotonic() - began < 2.0
    writer.close()


@pytest.mark.parametrize("act", ["remove", "update"])
async def test_removing_or_updating_a_delay_lets_go_what_it_holds_back(way, act):
    reader, writer = await way.talking()
    way.toxic("latency", latency=60_000)
    answer = asyncio.create_task(echoed(reader, writer))
    async with asyncio.timeout(LIMIT_S):
        while way.echo.came != b"xxxxxxxx":
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    if act == "remove":
        assert way.remove().ok
    else:
        assert way.server.ask("PATCH", "/proxies/way/toxics/t", json={"attributes": {"latency": 50_000}}).ok
    assert await answer < LIMIT_S
    writer.close()


async def test_unknown_attributes_are_ignored_and_misspelt_ones_count_as_zero(way):
    assert way.toxic("latency", latnecy=5000).json()["attributes"] == {"latency": 0, "jitter": 0}


@pytest.mark.parametrize("attributes", [{"latency": 1.5}, {"latency": "5ms"}])
async def test_numbers_that_are_not_whole_are_refused(way, attributes):
    assert way.toxic("latency", **attributes).status_code == 400


def test_agents_that_look_like_a_browser_are_refused(toxiproxy):
    assert toxiproxy.ask("GET", "/version", headers={"User-Agent": "Mozilla/5.0"}).status_code == 403


async def test_a_bandwidth_of_nothing_stalls_without_loss(way):
    reader, writer = await way.talking()
    way.toxic("bandwidth", rate=0)
    assert await silent(reader, writer)
    way.remove()
    async with asyncio.timeout(LIMIT_S):
        assert await reader.readexactly(1) == b"x"
    writer.close()


async def test_a_kilobyte_of_a_bandwidth_is_a_thousand_bytes(way):
    reader, writer = await way.talking()
    way.toxic("bandwidth", rate=100)
    # 60 KB at 1024 B would take 0.586 s; the last tenth of a second is not waited for.
    assert await echoed(reader, writer, 60_000) >= 0.49
    writer.close()


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("bandwidth", {"rate": -1}), ("slicer", {"average_size": 10, "size_variation": 1000, "delay": 0})],
)
async def test_attributes_that_end_the_server(doomed, kind, attributes):
    async with way_through(doomed) as way:
        _, writer = await way.talking()
        way.toxic(kind, **attributes)
        async with asyncio.timeout(LIMIT_S):
            while spawn.alive(doomed.handle):
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x" * 4000)
                await asyncio.sleep(0.005)
        writer.close()


async def test_a_slicer_without_a_size_runs_away(doomed):
    """Its recursion has no end: about 1 GB later the server dies."""
    async with way_through(doomed) as way:
        reader, writer = await way.talking()
        way.toxic("slicer", average_size=0, size_variation=0, delay=0)
        assert await silent(reader, writer)
        before = psutil.Process(doomed.handle.pid).memory_info().rss
        async with asyncio.timeout(LIMIT_S):
            while psutil.Process(doomed.handle.pid).memory_info().rss < before + 40_000_000:
                await asyncio.sleep(0.02)
        doomed.end()
        writer.close()


async def test_a_slicer_makes_pieces_of_half_its_size_to_its_whole_size(way):
    reader, writer = await way.talking()
    way.toxic("slicer", average_size=100, size_variation=0, delay=20_000)
    writer.write(b"x" * 1000)
    pieces, left = [], 1000
    async with asyncio.timeout(LIMIT_S):
        while left:
            pieces.append(len(await reader.read(1000)))
            left -= pieces[-1]
    # Pieces that arrive together are read as one.
    assert len(pieces) >= 8
    assert min(pieces) >= 50
    writer.close()


async def test_slow_close_delays_the_end_and_no_data(way):
    reader, writer = await way.talking()
    way.toxic("slow_close", delay=300)
    assert await echoed(reader, writer) < 0.3
    began = time.monotonic()
    writer.write_eof()
    assert await ends(reader) == b""
    assert time.monotonic() - began >= 0.3
    writer.close()


async def test_slow_close_upstream_is_seen_by_a_client_that_closes_its_side(way):
    reader, writer = await way.talking()
    way.toxic("slow_close", "upstream", delay=300)
    began = time.monotonic()
    writer.write_eof()
    assert await ends(reader) == b""
    assert time.monotonic() - began >= 0.3
    writer.close()


async def test_a_timeout_above_nothing_counts_from_the_last_chunk(way):
    reader, writer = await way.talking()
    way.toxic("timeout", timeout=400)
    for _ in range(4):  # 600 ms in all
        assert await silent(reader, writer)
    assert await ends(reader) == b""
    writer.close()


async def test_a_removed_timeout_closes_the_connections_of_its_direction(way):
    reader, writer = await way.talking()
    way.toxic("timeout", timeout=0)
    assert await silent(reader, writer, 0.3)
    way.remove()
    assert await ends(reader) == b""
    writer.close()


async def test_reset_peer_resets_what_is_opened_after_it(way):
    way.toxic("reset_peer", timeout=0)
    reader, writer = await way.connect()
    writer.write(b"x")
    assert await ends(reader) is ConnectionResetError
    writer.close()


async def test_reset_peer_ends_an_older_connection_in_good_order_at_its_next_data(way):
    (idle, idle_writer), (busy, busy_writer) = await way.talking(), await way.talking()
    way.toxic("reset_peer", timeout=0)
    busy_writer.write(b"x")
    assert await ends(busy) == b""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await idle.read(1)
    for writer in (idle_writer, busy_writer):
        writer.close()


async def test_closing_and_opening_a_proxy_cuts_what_reset_peer_leaves_alone(way):
    idle, writer = await way.talking()
    way.toxic("reset_peer", timeout=0)
    way.server.enable(way.name, enabled=False)
    way.server.enable(way.name, enabled=True)
    assert await ends(idle) in (b"", ConnectionResetError)
    writer.close()


async def test_limit_data_counts_for_each_connection_from_its_insertion(way):
    reader, writer = await way.talking()
    way.toxic("limit_data", bytes=100)
    assert await echoed(reader, writer, 90) < LIMIT_S  # what was said before does not count
    writer.write(b"x" * 50)
    async with asyncio.timeout(LIMIT_S):
        assert await reader.read() == b"x" * 10
    other, other_writer = await way.connect()
    assert await echoed(other, other_writer, 90) < LIMIT_S
    for one in (writer, other_writer):
        one.close()


async def test_a_disabled_proxy_refuses_and_drops_and_keeps_its_toxics(way):
    reader, writer = await way.talking()
    way.server.enable(way.name, enabled=False)
    assert await ends(reader) == b""
    with pytest.raises(ConnectionRefusedError):
        await way.connect()
    assert way.toxic("latency", latency=100).ok  # accepted on a disabled proxy
    way.server.enable(way.name, enabled=True)
    assert await ends(reader) == b""  # what was cut stays cut
    writer.close()
    reader, writer = await way.connect()
    assert await echoed(reader, writer) >= 0.1
    writer.close()


async def chances(way: Way, pairs: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> list[bool]:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(echoed(*pair)) for pair in pairs]
    return [task.result() >= 0.15 for task in asked]


async def test_toxicity_is_drawn_for_a_connection_and_again_when_the_chain_changes(way):
    body = {"name": "t", "type": "latency", "toxicity": 0.5, "attributes": {"latency": 150}}
    assert way.server.ask("POST", "/proxies/way/toxics", json=body).ok
    pairs = [await way.connect() for _ in range(24)]
    first = await chances(way, pairs)
    assert any(first)
    assert not all(first)
    assert await chances(way, pairs) == first
    way.server.ask("PATCH", "/proxies/way/toxics/t", json={"attributes": {"latency": 151}})
    assert await chances(way, pairs) != first
    for _, writer in pairs:
        writer.close()


async def test_a_dead_server_looks_like_a_connection_that_is_closed_at_once(toxiproxy):
    listen, dead = free_ports(2, set())
    body = {"name": "dead", "listen": f"127.0.0.1:{listen}", "upstream": f"127.0.0.1:{dead}", "enabled": True}
    assert toxiproxy.ask("POST", "/proxies", json=body).ok
    reader, writer = await asyncio.open_connection("127.0.0.1", listen)
    assert await ends(reader) in (b"", ConnectionResetError)
    writer.close()
    toxiproxy.ask("DELETE", "/proxies/dead")


async def test_a_server_that_is_started_anew_knows_nothing(tmp_path):
    first = await started(tmp_path)
    async with way_through(first) as way:
        assert way.toxic("latency", latency=1).ok
        first.end()
    second = await started(tmp_path)
    try:
        assert second.ask("GET", "/proxies").json() == {}
    finally:
        second.end()


async def test_populate_ignores_toxics_and_stops_at_its_first_error(way):
    free, later = free_ports(2, set())
    upstream = way.state()["upstream"]
    toxic = {"name": "t", "type": "latency", "stream": "downstream", "attributes": {"latency": 5}}
    wanted = [
        {"name": "a", "listen": f"127.0.0.1:{free}", "upstream": upstream, "enabled": True, "toxics": [toxic]},
        {"name": "b", "listen": f"127.0.0.1:{way.port}", "upstream": upstream, "enabled": True},  # the port is taken
        {"name": "c", "listen": f"127.0.0.1:{later}", "upstream": upstream, "enabled": True},
    ]
    assert not way.server.ask("POST", "/populate", json=wanted).ok
    present = way.server.ask("GET", "/proxies").json()
    assert present["a"]["toxics"] == []
    assert "c" not in present
    for name in ("a", "b"):
        way.server.ask("DELETE", f"/proxies/{name}")


async def test_reset_is_global_and_opens_what_was_closed_on_purpose(way):
    way.toxic("latency", latency=1)
    way.server.enable(way.name, enabled=False)
    assert way.server.ask("POST", "/reset").status_code == 204
    assert way.state()["enabled"]
    assert way.state()["toxics"] == []


async def test_names_are_unique_over_both_streams_of_a_proxy(way):
    assert way.toxic("latency", "upstream", latency=1).ok
    assert way.toxic("latency", "downstream", latency=1).status_code == 409


async def test_a_proxy_with_a_slash_in_its_name_cannot_be_deleted(doomed):
    (port,) = free_ports(1, set())
    body = {"name": "a/b", "listen": f"127.0.0.1:{port}", "upstream": "127.0.0.1:1", "enabled": True}
    assert doomed.ask("POST", "/proxies", json=body).ok
    for path in ("/proxies/a/b", "/proxies/a%2Fb"):
        assert doomed.ask("DELETE", path).status_code == 404
    assert list(doomed.ask("GET", "/proxies").json()) == ["a/b"]


async def test_port_zero_is_chosen_at_creation_and_again_at_every_populate(way):
    body = {"name": "any", "listen": "127.0.0.1:0", "upstream": way.state()["upstream"], "enabled": True}
    first = way.server.ask("POST", "/proxies", json=body).json()["listen"]
    assert not first.endswith(":0")
    assert way.server.ask("POST", "/populate", json=[body]).ok
    assert way.server.ask("GET", "/proxies/any").json()["listen"] != first
    way.server.ask("DELETE", "/proxies/any")


async def test_byte_counters_know_a_connection_only_when_it_has_ended(tmp_path):
    counting = await started(tmp_path, "-proxy-metrics")
    try:
        async with way_through(counting) as way:
            reader, writer = await way.talking()
            assert "toxiproxy_proxy_sent_bytes_total{" not in counting.ask("GET", "/metrics").text
            writer.close()
            async with asyncio.timeout(LIMIT_S):
                while "toxiproxy_proxy_sent_bytes_total{" not in counting.ask("GET", "/metrics").text:
                    await asyncio.sleep(0.01)
            assert await ends(reader) == b""
    finally:
        counting.end()


async def test_a_removal_can_hang_and_then_the_whole_proxy_hangs_with_it(doomed):
    """github.com/Shopify/toxiproxy/issues/558: the reason why the heal ladder ends in a restart."""
    flood = await asyncio.start_server(_flood, "127.0.0.1", 0)
    (port,) = free_ports(1, set())
    there = flood.sockets[0].getsockname()[1]
    body = {"name": "way", "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{there}", "enabled": True}
    assert doomed.ask("POST", "/proxies", json=body).ok
    assert doomed.toxic("way", "latency", latency=1).ok
    with socket.create_connection(("127.0.0.1", port)):  # it never reads
        await asyncio.sleep(1)
        with pytest.raises(requests.ReadTimeout):
            await asyncio.to_thread(doomed.http.delete, f"{doomed.url}/proxies/way/toxics/t", timeout=1)
        with pytest.raises(requests.ReadTimeout):
            await asyncio.to_thread(doomed.http.get, f"{doomed.url}/proxies", timeout=1)
    spawn.end(doomed.handle, 0.0)
    flood.close()
    await flood.wait_closed()


async def _flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
    writer.close()
