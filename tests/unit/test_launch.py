"""How targets are named and what they are told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from chaosd.kernel.errors import UsageError
from chaosd.stack.handle import Address, Addresses, Endpoints, Postgres
from chaosd.target import launch


def endpoints() -> Endpoints:
    def way(port: int) -> Addresses:
        host = "127.0.0.1"
        return Addresses(Address(host, port), Address(host, port + 1), Postgres(host, port + 2, "u", "p", "d"))

    return Endpoints(direct=way(1000), proxied=way(2000))


def recipe(target: str, log: Path = Path("/tmp/x.log")):
    topics = {"input": "in", "output": "out", "dlq": "dead"}
    return launch.recipe(target, endpoints(), topics, group="g", instance="g-0", log=log)


def test_a_target_is_told_the_proxied_addresses_only():
    env = recipe("reference").env
    assert env["KAFKA_BOOTSTRAP"] == "127.0.0.1:2001"
    assert env["REDIS_URL"] == "redis://127.0.0.1:2000"
    assert env["DATABASE_URL"] == "postgresql://u:p@127.0.0.1:2002/d"
    assert not [value for value in env.values() if ":100" in value]
    assert (env["INPUT_TOPIC"], env["OUTPUT_TOPIC"], env["DLQ_TOPIC"]) == ("in", "out", "dead")


def test_an_unknown_target_names_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'reference'"):
        recipe("refrence")


def test_an_unknown_target_like_no_other_lists_them():
    with pytest.raises(UsageError) as caught:
        recipe("zzz")
    assert "auto_commit" in caught.value.remedy
    assert "did you mean" not in caught.value.message


@pytest.mark.parametrize("name", launch.names())
def test_every_named_target_is_there(name):
    assert importlib.util.find_spec(recipe(name).argv[2]) is not None
    assert launch.source(name).exists()
