"""GET /healthz: whether the daemon does its work. Open to everybody, so it tells nothing else."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from chaosd.daemon.runner import Runner


def router(runner: Runner) -> APIRouter:
    """200 while all is well, 503 while something that was broken is not healed."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> JSONResponse:
        if runner.unhealed:
            return JSONResponse({"status": "unhealed"}, 503)
        return JSONResponse({"status": "ok"})

    return routes
