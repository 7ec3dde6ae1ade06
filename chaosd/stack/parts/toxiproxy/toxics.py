"""Toxics as values, checked before they are sent.

The server validates nothing: unknown attributes are ignored, floats are refused, and some values end the server
(a negative bandwidth; a slicer without size, or with a variation that reaches its size).
Source: github.com/Shopify/toxiproxy#toxics and its `toxics/` folder, 2.12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosd.kernel.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAMS = ("upstream", "downstream")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "latency": ("latency", "jitter"),  # ms
    "bandwidth": ("rate",),  # KB/s, 1 KB = 1000 B; 0 stalls
    "slow_close": ("delay",),  # ms
    "timeout": ("timeout",),  # ms; 0 never closes
    "reset_peer": ("timeout",),  # ms
    "slicer": ("average_size", "size_variation", "delay"),  # B, B, µs
    "limit_data": ("bytes",),
}


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic of one proxy, as the server tells it."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Mapping[str, int]


def check(kind: str, stream: str, attributes: Mapping[str, int]) -> None:
    """Raise UsageError for a toxic that the server would misunderstand or die of."""
    if kind not in ATTRIBUTES:
        raise UsageError(f"there is no toxic {kind!r}", remedy=f"did you mean {nearest(kind, ATTRIBUTES)!r}?")
    if stream not in STREAMS:
        raise UsageError(f"the stream of a toxic is upstream or downstream, not {stream!r}")
    for name, value in attributes.items():
        if name not in ATTRIBUTES[kind]:
            raise UsageError(
                f"the toxic {kind} has no attribute {name!r}", remedy=f"it has {', '.join(ATTRIBUTES[kind])}"
            )
        if type(value) is not int or value < 0:
            raise UsageError(f"{kind}.{name} must be a whole number from 0, not {value!r}")
    if kind == "slicer" and attributes.get("size_variation", 0) >= attributes.get("average_size", 0):
        raise UsageError("a slicer needs an average_size above 0 and a size_variation below it")
