"""From the engine's words about a container to what a person reads when a part does not answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_engine import attrs

from chaosd.stack.address import Address
from chaosd.stack.providers.containers import (
    LOG_LINE_CHARACTERS,
    LOG_LINES,
    Hint,
    Observation,
    absent,
    holder,
    log_lines,
    observe,
)

REDIS = Address("127.0.0.1", 6380)
FILE = "docker-compose.chaos.yml"
SICK = {"Status": "unhealthy", "FailingStreak": 3}


def seen(status: str, **state: object) -> Observation:
    return observe(attrs("chaos-redis-1", 6380, status, **state))


def test_a_killed_container_is_told_with_its_signal_and_is_to_be_started():
    killed = seen("exited", ExitCode=137, Health=SICK)
    assert killed.summary == (
        "container chaos-redis-1: exited, ended 2026-03-01T12:30:00Z, exit code 137 (SIGKILL), "
        "health check unhealthy (no longer asked)"
    )
    assert killed.remedy == "docker start chaos-redis-1"


def test_a_container_without_memory_is_told_as_such():
    assert seen("exited", ExitCode=137, OOMKilled=True).summary.endswith("exit code 137 (SIGKILL), out of memory")
    assert "memory" not in seen("running", OOMKilled=True).summary


def test_a_container_that_gave_up_by_itself_is_to_be_mended_first():
    assert seen("exited", ExitCode=1).remedy == "mend what is told above, then docker start chaos-redis-1"
    assert seen("exited", ExitCode=0).remedy == "docker start chaos-redis-1"


def test_a_paused_container_is_to_be_unpaused_and_has_no_exit_code():
    paused = seen("paused", Health=SICK)
    assert (paused.exit_code, paused.remedy) == (None, "docker unpause chaos-redis-1")
    assert "started 2026-03-01T12:00:00Z" in paused.summary


def test_a_container_that_never_started_tells_the_error_of_the_engine_in_one_line():
    created = seen("created", Error="driver failed:\nport is already allocated")
    assert created.detail.splitlines() == [
        "container chaos-redis-1: created",
        "engine: driver failed: port is already allocated",
        "its log is empty, or kept elsewhere",
    ]
    assert created.remedy.startswith("mend what is told above")


@pytest.mark.parametrize(
    ("status", "health", "words"),
    [
        ("running", "starting", "wait until it has started"),
        ("running", "healthy", "docker restart chaos-redis-1"),
        ("restarting", "", "docker logs chaos-redis-1"),
        ("dead", "", "docker rm -f chaos-redis-1"),
        ("something new", "", "docker rm -f chaos-redis-1"),
    ],
)
def test_each_state_has_its_remedy(status, health, words):
    assert words in seen(status, Health={"Status": health}).remedy


def test_health_is_told_only_where_there_is_a_check():
    assert "health check healthy" in seen("running", Health={"Status": "healthy"}).summary
    assert "(no longer asked)" not in seen("running", Health={"Status": "healthy"}).summary
    for none in (None, {}, {"Status": "none"}):
        assert "health" not in seen("running", Health=none).summary


def test_the_port_is_known_while_a_container_is_stopped():
    assert seen("exited").ports == seen("running").ports == {6380}


def test_a_port_that_the_engine_chose_is_known_while_the_container_runs():
    told = attrs("chaos-redis-1", 6380)
    told["HostConfig"] = {"PortBindings": {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}}
    assert observe(told).ports == {6380}
    assert observe({**told, "NetworkSettings": {"Ports": {"6379/tcp": None}}}).ports == frozenset()


@pytest.mark.parametrize(("host", "ports"), [("0.0.0.0", {6380}), ("::1", {6380}), ("", {6380}), ("10.1.2.3", set())])
def test_only_ports_that_loopback_leads_to_count(host, ports):
    bound = {"6379/tcp": [{"HostIp": host, "HostPort": "6380"}]}
    assert observe({"HostConfig": {"PortBindings": bound}}).ports == ports


def test_an_engine_that_leaves_things_out_is_no_error():
    bare = observe({})
    assert (bare.state, bare.exit_code, bare.ports) == ("", None, frozenset())
    assert observe({"State": None, "Config": None, "HostConfig": None, "NetworkSettings": None}) == bare
    assert bare.summary == "container : in no known state"


def test_of_several_containers_the_one_that_has_the_port_counts_then_the_last_that_had_it():
    early, late = (replace(seen("exited"), name=name, turned=name) for name in ("2026-01", "2026-02"))
    running = replace(seen("running"), turned="2025")
    elsewhere = observe(attrs("chaos-redis-2", 7000))
    assert holder([elsewhere, early, late], 6380) is late
    assert holder([early, running, late], 6380) is running
    assert holder([elsewhere], 6380) is None


def test_the_end_of_a_log_is_fit_for_a_terminal():
    log = b"".join(b"line %d\n" % n for n in range(20)) + b"\n\x1b[31mred\x1b[0m\x07 \xff\t.\r\n" + b"x" * 500
    lines = log_lines(log)
    assert len(lines) == LOG_LINES
    assert lines[-2] == "red  � ."
    assert lines[-1] == "x" * (LOG_LINE_CHARACTERS - 1) + "…"
    assert log_lines(b"") == ()


def test_the_detail_shows_the_log_indented():
    assert replace(seen("paused"), log=("one", "two")).detail.splitlines()[1:] == [
        "the end of its log:",
        "  one",
        "  two",
    ]


def test_an_absent_service_is_to_be_brought_up_alone_when_others_are_there():
    postgres = observe(attrs("chaos-postgres-1", 5433))
    hint = absent([postgres], REDIS, "redis", FILE, {6380, 5433})
    assert hint.remedy == "docker compose -f docker-compose.chaos.yml up -d redis"
    assert "127.0.0.1:6380" in hint.detail


def test_where_nothing_of_the_file_is_there_all_of_it_is_to_be_brought_up():
    stranger = observe(attrs("other-redis-1", 7000))
    hint = absent([stranger], REDIS, "redis", "my file.yml", {6380, 5433})
    assert hint.remedy == "docker compose -f 'my file.yml' up -d"


def test_of_servers_that_no_known_file_describes_absence_says_nothing():
    assert absent([], REDIS, "redis", "", {6380}) == absent([], REDIS, "", FILE, {6380}) == Hint()
