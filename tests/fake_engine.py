"""A fake: a Docker engine on a socket of its own that describes containers and does nothing else.

Of the Engine API it speaks what chaosd asks: /version, /containers/json, /containers/ID/json, /containers/ID/logs.
"""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

STARTED, ENDED, NEVER = "2026-03-01T12:00:00.123456789Z", "2026-03-01T12:30:00.5Z", "0001-01-01T00:00:00Z"


def attrs(name: str, port: int, status: str = "running", **state: Any) -> dict[str, Any]:
    """What engine 20.10 tells of a container of a compose file, as far as chaosd reads it."""
    runs = status in {"running", "paused", "restarting"}
    bindings = {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    return {
        "Id": name.encode().hex().ljust(64, "0"),
        "Name": f"/{name}",
        "State": {
            "Status": status,
            "OOMKilled": False,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": NEVER if status == "created" else STARTED,
            "FinishedAt": ENDED if status in {"exited", "dead"} else NEVER,
            **state,
        },
        "HostConfig": {"PortBindings": bindings},
        "NetworkSettings": {"Ports": bindings if runs else {}},
        "Config": {"Labels": {"com.docker.compose.service": name.split("-")[-2]}, "Tty": False},
    }


@dataclass
class Engine:
    """Its containers and their logs by name, and what it was asked. `silent`: it takes requests and never answers."""

    host: str
    containers: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    silent: bool = False
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/version":
            return 200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"}
        if path == "/v1.41/containers/json":
            labels = json.loads(query["filters"][0])["label"]
            every = query.get("all") == ["1"]
            return 200, [
                {"Id": one["Id"]}
                for one in self.containers
                if all(label in one["Config"]["Labels"] for label in labels)
                and (every or one["State"]["Status"] == "running")
            ]
        _, _, _, wanted, what = path.split("/")
        one = next((one for one in self.containers if one["Id"] == wanted), None)
        if one is None:
            return 404, {"message": f"No such container: {wanted}"}
        if what == "json":
            return 200, one
        lines = self.logs.get(one["Name"].removeprefix("/"))
        if lines is None:
            return 501, {"message": "configured logging driver does not support reading"}
        return 200, b"".join(_frame(line) for line in lines[-int(query["tail"][0]) :])


def _frame(line: str) -> bytes:
    """Standard error in the form of a container without a terminal: kind, length, bytes."""
    text = f"{line}\n".encode()
    return struct.pack(">BxxxL", 2, len(text)) + text


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        engine: Engine = self.server.engine  # type: ignore[attr-defined]
        engine.asked.append(self.path)
        if engine.silent:
            engine.over.wait()
            return
        address = urlsplit(self.path)
        status, told = engine.answer(address.path, parse_qs(address.query))
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True
    engine: Engine


@contextlib.contextmanager
def fake_engine() -> Iterator[Engine]:
    """An engine without containers, to be named by DOCKER_HOST (`host`)."""
    # The path of a socket has 107 bytes at most: no folder of pytest's.
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        path = Path(folder) / "docker.sock"
        with _Server(str(path), _Handler) as server:
            server.engine = Engine(f"unix://{path}")
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield server.engine
            finally:
                server.engine.over.set()
                server.shutdown()
                thread.join(5)
