"""Toxiproxy as a part. Protocol: HTTP, github.com/Shopify/toxiproxy#http-api."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from chaosd.process.spawn import PART, Recipe
from chaosd.stack.part import NotReady, Part, connection

if TYPE_CHECKING:
    from pathlib import Path

    from chaosd.stack.address import Address


async def _ready(address: Address) -> str:
    async with connection(address) as (reader, writer):
        writer.write(b"GET /version HTTP/1.0\r\nHost: localhost\r\nUser-Agent: chaosd\r\n\r\n")
        answer = await reader.read(65536)
        while chunk := await reader.read(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise NotReady(f"/version is answered {head.splitlines()[:1]}")
    try:
        return str(json.loads(body)["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotReady(f"/version is answered {body[:80]!r}") from error


async def _round_trip(address: Address) -> None:
    await _ready(address)


def recipe(server: str, port: int, data: Path, log: Path) -> Recipe:
    """How to start it. Its default log level, trace, costs throughput."""
    env = {PART: "toxiproxy", "LOG_LEVEL": "error", "PATH": "/usr/bin:/bin"}
    return Recipe((server, "-host", "127.0.0.1", "-port", str(port)), env, str(data), str(log))


part = Part("toxiproxy", _ready, _round_trip)
