"""All parts, one line each, in the order in which they are shown and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosd.kernel import names
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


def part_of(name: str) -> Part:
    """The part behind the name of one of a stack's servers. A broker of a cluster is ready when its share of it is."""
    return broker.member if name not in PARTS and names.kind(name) == broker.part.name else PARTS[name]
