"""All parts, one line each, in the order in which they are shown and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosd.stack.parts import postgres, redis
from chaosd.stack.parts.kafka import broker
from chaosd.stack.parts.toxiproxy import server

if TYPE_CHECKING:
    from chaosd.stack.part import Part

PARTS: dict[str, Part] = {
    "redis": redis.part,
    "postgres": postgres.part,
    "kafka": broker.part,
    "toxiproxy": server.part,
}
