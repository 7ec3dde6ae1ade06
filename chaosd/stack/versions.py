"""The one table of pinned versions, and the oldest versions that may stand in for them."""

from __future__ import annotations

import re

KAFKA = "4.1.1"
SCALA = "2.13"
TOXIPROXY = "2.12.0"
SLF4J = "1.7.36"  # without a binding the broker logs nothing

# The whole closure is resolved from these.
KAFKA_JARS = (
    f"org.apache.kafka:kafka_{SCALA}:{KAFKA}",
    f"org.apache.kafka:kafka-tools:{KAFKA}",
    f"org.slf4j:slf4j-simple:{SLF4J}",
)
TOXIPROXY_SOURCE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{TOXIPROXY}"

OLDEST = {"redis": (6, 2), "postgres": (15,), "java": (17,), "go": (1, 23), "toxiproxy": (2, 5)}


def numbers(version: str) -> tuple[int, ...]:
    """`6.2.14` → (6, 2, 14), for comparing; what follows the numbers is ignored."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(word) for word in found[0].split(".")) if found else ()
