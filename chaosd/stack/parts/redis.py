"""Redis as a part. Protocol: RESP (redis.io/docs/reference/protocol-spec), inline commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosd.process.spawn import PART, Recipe
from chaosd.stack.part import NotReady, Part, connection

if TYPE_CHECKING:
    from pathlib import Path

    from chaosd.stack.address import Address

_VERSION = b"redis_version:"


async def _ping(address: Address) -> None:
    async with connection(address) as (reader, writer):
        writer.write(b"PING\r\n")
        answer = await reader.readline()
    # While its data are read it answers -LOADING.
    if answer != b"+PONG\r\n":
        raise NotReady(f"PING is answered {answer!r}")


async def _ready(address: Address) -> str:
    async with connection(address) as (reader, writer):
        writer.write(b"INFO server\r\nPING\r\n")
        head = await reader.readline()
        if not head.startswith(b"$"):
            raise NotReady(f"INFO is answered {head!r}")
        info = await reader.readexactly(int(head[1:]) + 2)
        answer = await reader.readline()
    if answer != b"+PONG\r\n":
        raise NotReady(f"PING is answered {answer!r}")
    lines = info.splitlines()
    return next((line[len(_VERSION) :].decode() for line in lines if line.startswith(_VERSION)), "")


def recipe(server: str, port: int, data: Path, log: Path) -> Recipe:
    """How to start it: an append-only file without fsync loses nothing when the process is killed; RDB would."""
    argv = (server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), "--daemonize", "no")
    durable = ("--save", "", "--appendonly", "yes", "--appendfsync", "no")
    # Its title would overwrite the environment, and with it the testbed's mark.
    titled = ("--set-proc-title", "no")
    env = {PART: "redis", "LC_ALL": "C", "MALLOC_ARENA_MAX": "1"}
    return Recipe((*argv, *durable, *titled), env, str(data), str(log))


part = Part("redis", _ready, _ping)
