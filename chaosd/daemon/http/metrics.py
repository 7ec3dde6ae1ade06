"""GET /metrics: the daemon's figures, in the text format of Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from chaosd.daemon.metrics import CONTENT_TYPE, Metrics


def router(metrics: Metrics) -> APIRouter:
    """The registry as it is now."""
    routes = APIRouter()

    @routes.get("/metrics")
    async def scrape() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return routes
