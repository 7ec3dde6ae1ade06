"""A Toxiproxy of a test's own, spoken to without chaosd's adapter, and an upstream that shows both ends of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from chaosd.process import spawn
from chaosd.stack.install import installed
from chaosd.stack.parts.toxiproxy import server
from chaosd.stack.ports import free_ports

LIMIT_S = 5.0


class Server:
    """A Toxiproxy, spoken to as anybody would: over HTTP, without chaosd's adapter, which hides half of these facts."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        parts = installed()
        assert parts is not None, "make stack installs the parts"
        self.log = folder / "toxiproxy.log"
        recipe = server.recipe(str(parts.toxiproxy.path), port, folder, self.log)
        recipe = replace(recipe, argv=(*recipe.argv, *options))
        self.handle = spawn.start(recipe, str(folder))
        self.http = requests.Session()
        self.http.trust_env = False
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, verb: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(verb, self.url + path, timeout=LIMIT_S, **options)

    def toxic(self, proxy: str, kind: str, stream: str = "downstream", name: str = "t", **attributes: Any) -> Any:
        body = {"name": name, "type": kind, "stream": stream, "attributes": attributes}
        return self.ask("POST", f"/proxies/{proxy}/toxics", json=body)

    def enable(self, proxy: str, *, enabled: bool) -> None:
        assert self.ask("POST", f"/proxies/{proxy}", json={"enabled": enabled}).ok

    def end(self) -> None:
        self.http.close()
        spawn.end(self.handle, 0.0)


async def started(folder: Path, *options: str) -> Server:
    (port,) = free_ports(1, set())
    made = Server(folder, port, *options)
    async with asyncio.timeout(LIMIT_S):
        while not server_answers(made):
            await asyncio.sleep(0.01)
    return made


def server_answers(made: Server) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return made.ask("GET", "/version").ok
    return False


class Echo:
    """An upstream that echoes, and remembers what came and when each connection ended."""

    def __init__(self) -> None:
        self.came = bytearray()
        self.accepted = 0
        self.ended: list[float] = []
        self.mute = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                self.came += chunk
                if not self.mute:
                    writer.write(chunk)
                    await writer.drain()
        self.ended.append(time.monotonic())
        writer.close()


class Way:
    """One proxy of a server, with the echo behind it."""

    def __init__(self, toxiproxy: Server, name: str, port: int, echo: Echo) -> None:
        self.server, self.name, self.port, self.echo = toxiproxy, name, port, echo

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talking(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that has carried something both ways."""
        reader, writer = await self.connect()
        assert await echoed(reader, writer) < LIMIT_S
        return reader, writer

    def toxic(self, kind: str, stream: str = "downstream", name: str = "t", **attributes: Any) -> Any:
        return self.server.toxic(self.name, kind, stream, name, **attributes)

    def remove(self, name: str = "t") -> requests.Response:
        return self.server.ask("DELETE", f"/proxies/{self.name}/toxics/{name}")

    def state(self) -> dict[str, Any]:
        return dict(self.server.ask("GET", f"/proxies/{self.name}").json())


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int = 4) -> float:
    """Seconds until what is said has come back whole."""
    began = time.monotonic()
    writer.write(b"x" * size)
    async with asyncio.timeout(LIMIT_S):
        await reader.readexactly(size)
    return time.monotonic() - began


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, for_s: float = 0.15) -> bool:
    """Whether nothing comes back of what is said, while the connection stays open."""
    writer.write(b"x")
    try:
        async with asyncio.timeout(for_s):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def ends(reader: asyncio.StreamReader) -> bytes | type[Exception]:
    """How a connection ends: what it still said (b"" for a plain end), or the error."""
    try:
        async with asyncio.timeout(LIMIT_S):
            return await reader.read(65536)
    except OSError as error:
        return type(error)


@contextlib.asynccontextmanager
async def way_through(toxiproxy: Server, name: str = "way") -> AsyncIterator[Way]:
    echo = Echo()
    (port,) = free_ports(1, set())
    upstream = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    there = upstream.sockets[0].getsockname()[1]
    body = {"name": name, "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{there}", "enabled": True}
    assert toxiproxy.ask("POST", "/proxies", json=body).status_code == 201
    yield Way(toxiproxy, name, port, echo)
    with contextlib.suppress(requests.RequestException):
        toxiproxy.ask("DELETE", f"/proxies/{name}")
    upstream.close()
