"""Who may ask: a bearer token for everything but /healthz, or, without a token, callers that mean this machine."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chaosd.stack.address import is_loopback

OPEN = ("/healthz",)
_SCHEME = "bearer "


class Gate:
    """ASGI middleware in front of every resource, those that do not exist included."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._token:
            if not self._authorised(headers.get("authorization", "")):
                hint = {"WWW-Authenticate": "Bearer"}
                await JSONResponse({"detail": "a bearer token is needed"}, 401, hint)(scope, receive, send)
                return
        elif not is_loopback(_host(headers.get("host", ""))):
            # A page from elsewhere can point its own name at 127.0.0.1 (DNS rebinding); its name gives it away.
            await JSONResponse({"detail": "this host name is not served"}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _authorised(self, header: str) -> bool:
        if header[: len(_SCHEME)].lower() != _SCHEME:
            return False
        return hmac.compare_digest(header[len(_SCHEME) :].strip().encode(), self._token)


def _host(header: str) -> str:
    """The host of a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
