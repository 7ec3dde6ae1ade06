"""A part of an external stack that does not answer is told with what a container engine knows: a fake one here."""

from __future__ import annotations

import gc
import hashlib
import json
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import attrs, fake_engine

from chaosd.cli import stack as command
from chaosd.kernel.errors import StackError
from chaosd.stack import handle as records
from chaosd.stack.address import Address
from chaosd.stack.handle import Addresses, Endpoints, PartRecord, StackRecord
from chaosd.stack.providers import containers
from chaosd.stack.providers.containers import Hint
from chaosd.stack.providers.external import COMPOSE, ExternalProvider, Places
from chaosd.stack.stack import Stack

# The SDK leaves a socket open whose engine could not be reached; it is closed when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _left_by_the_sdk():
    yield
    gc.collect()


@pytest.fixture
def engine(monkeypatch):
    with fake_engine() as running:
        monkeypatch.setenv("DOCKER_HOST", running.host)
        yield running


@pytest.fixture
def closed():
    """A port on loopback where nothing listens, and nothing else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield Address("127.0.0.1", held.getsockname()[1])


def compose(kafka: Address) -> Places:
    """The compose file's stack with Kafka, which is asked first, at another port."""
    return replace(COMPOSE, direct=Addresses(COMPOSE.direct.redis, kafka, COMPOSE.direct.postgres))


async def error_of(places: Places, folder: Path) -> StackError:
    with pytest.raises(StackError, match="kafka does not serve") as caught:
        await ExternalProvider(places).up(folder / "outside", "outside")
    assert not (folder / "outside").exists()
    return caught.value


async def test_a_stopped_container_is_told_with_its_code_its_log_and_the_command(engine, closed, tmp_path):
    engine.containers = [attrs("chaos-redis-1", 6380), attrs("chaos-kafka-1", closed.port, "exited", ExitCode=137)]
    engine.logs = {"chaos-kafka-1": [f"line {n}" for n in range(20)]}
    error = await error_of(compose(closed), tmp_path)
    assert error.remedy == "docker start chaos-kafka-1"
    told = error.detail.splitlines()
    assert told[0].startswith("container chaos-kafka-1: exited")
    assert "exit code 137 (SIGKILL)" in told[0]
    assert told[2:] == [f"  line {n}" for n in range(12, 20)]
    assert f"  | {told[0]}\n" in str(error)


async def test_a_paused_container_without_a_readable_log_is_told_all_the_same(engine, closed, tmp_path):
    engine.containers = [attrs("chaos-kafka-1", closed.port, "paused")]
    error = await error_of(compose(closed), tmp_path)
    assert error.remedy == "docker unpause chaos-kafka-1"
    assert error.detail.endswith("kept elsewhere")


async def test_an_absent_container_is_told_with_the_command_that_makes_it(engine, closed, tmp_path):
    engine.containers = [attrs("chaos-redis-1", 6380)]
    error = await error_of(compose(closed), tmp_path)
    assert error.remedy == "docker compose -f docker-compose.chaos.yml up -d kafka"
    engine.containers = []
    assert (await error_of(compose(closed), tmp_path)).remedy == "docker compose -f docker-compose.chaos.yml up -d"


async def test_servers_of_which_no_engine_knows_are_told_as_before(engine, closed, tmp_path):
    error = await error_of(replace(compose(closed), compose_file=""), tmp_path)
    assert (error.detail, error.remedy[:8]) == ("", "start it")


async def test_the_engine_is_only_read(engine, closed):
    engine.containers = [attrs("chaos-kafka-1", closed.port)]
    await containers.explain(closed)
    paths = {asked.partition("?")[0].rpartition("/")[2] for asked in engine.asked}
    assert paths == {"version", "json", "logs"}  # and a POST would have been answered with 501


async def test_a_server_on_another_machine_is_not_asked_about(engine, closed):
    engine.containers = [attrs("chaos-kafka-1", closed.port)]
    assert await containers.explain(replace(closed, host="192.0.2.1")) == Hint()
    assert engine.asked == []


async def test_an_engine_that_never_answers_costs_two_seconds(engine, closed):
    engine.silent = True
    began = time.monotonic()
    assert await containers.explain(closed, "kafka", COMPOSE.compose_file) == Hint()
    assert 1.9 <= time.monotonic() - began < containers.LIMIT_S + 1
    assert len(engine.asked) == 1


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9", "ssh://127.0.0.1:9", "what?"])
async def test_without_an_engine_there_is_nothing_to_tell(host, closed, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", host)
    assert await containers.explain(closed, "kafka", COMPOSE.compose_file) == Hint()
    assert await containers.seen(closed) is None


async def test_a_damaged_context_of_the_docker_command_is_no_error(closed, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text("{")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert await containers.explain(closed, "kafka", COMPOSE.compose_file) == Hint()


async def test_the_status_of_an_external_stack_names_the_container(engine, closed, tmp_path):
    engine.containers = [attrs("chaos-redis-1", closed.port, "paused")]
    engine.logs = {"chaos-redis-1": ["Ready"]}
    part = PartRecord("redis", "7.4.1", "external", closed.host, closed.port)
    record = StackRecord(
        provider="external",
        marker="outside",
        parts={"redis": part},
        proxies=(),
        endpoints=Endpoints(COMPOSE.direct, COMPOSE.proxied),
        capabilities=("proxy",),
    )
    records.save(tmp_path, record)
    rows = await command._status(Stack(tmp_path, record))
    assert rows["redis"]["state"] == "does not answer"
    assert rows["redis"]["container"] == "chaos-redis-1 paused"
