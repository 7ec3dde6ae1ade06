"""The dynamic probe of a Redis client's decode mode: what the source alone does not tell."""

from __future__ import annotations

import pytest

from chaosd.cli.app import run as chaosd_command

CLIENTS = """
import os
import redis
import redis.asyncio

def make():
    return redis.Redis(decode_responses=os.environ.get("TEXT", "") != "no")

async def later():
    return redis.asyncio.Redis()

class Container:
    def client(self):
        return make()

ready = redis.Redis()

def broken():
    raise RuntimeError("no configuration")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clients.py").write_text(CLIENTS, encoding="utf-8")
    return tmp_path


def test_mode_of_functions_coroutines_objects_and_containers_is_told(folder, capsys):
    names = ["clients:make", "clients:later", "clients:ready", "clients:Container.client"]
    assert chaosd_command(["preflight", "probe", *names, "--folder", str(folder)]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["text", "bytes", "bytes", "text"]


def test_other_mode_than_expected_fails(folder, monkeypatch):
    command = ["preflight", "probe", "clients:make", "--folder", str(folder), "--expect", "text"]
    assert chaosd_command(command) == 0
    monkeypatch.setenv("TEXT", "no")
    assert chaosd_command(command) == 1


@pytest.mark.parametrize(
    ("name", "told"), [("clients:broken", "no configuration"), ("absent:make", "absent"), ("x", "module:name")]
)
def test_what_gives_no_client_is_an_error_with_its_reason(folder, capsys, name, told):
    assert chaosd_command(["preflight", "probe", name, "--folder", str(folder)]) == 2
    assert told in capsys.readouterr().err
