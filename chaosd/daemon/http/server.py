"""The web server: a listening socket first, so that a taken port is told in a line, then uvicorn on it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import APIRouter, FastAPI

from chaosd.daemon.http.gate import Gate
from chaosd.kernel.errors import StackError

_GRACE_S = 3
_AT_ONCE_MAX = 64


class Server(uvicorn.Server):
    """uvicorn that leaves the signals to the daemon, which heals before it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def application(routers: list[APIRouter], token: str) -> Gate:
    """All resources behind the gate."""
    app = FastAPI(title="chaosd", docs_url=None, redoc_url=None, openapi_url=None)
    for router in routers:
        app.include_router(router)
    return Gate(app, token)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises StackError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise StackError(
            f"cannot listen on {host}:{port}: {error.strerror}", remedy="another address in listen:"
        ) from error
    return listener


def server(app: Gate) -> Server:
    """A server for the application; an open stream holds the end up for at most three seconds."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        limit_concurrency=_AT_ONCE_MAX,
    )
    return Server(config)
