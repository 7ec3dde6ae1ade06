"""Every way to spoil an envelope. Each result is refused by the contract, and no two are the same bytes."""

from __future__ import annotations

import json

from chaosd.kernel.errors import UsageError, nearest

KINDS: tuple[str, ...] = ("not_json", "field_missing", "wrong_type", "unknown_enum", "oversized", "wrong_encoding")
# The reference target's declared limit; "oversized" is above it and far below the broker's 1 MB.
MAX_ENVELOPE_BYTES = 65_536


def spoil(kind: str, value: bytes, unique: int) -> bytes:
    """Spoil the JSON of a good envelope. `unique` makes it differ from every other poison of the run.

    Raises UsageError for a kind that is not in KINDS.
    """
    if kind == "not_json":
        return b"{not json #%d " % unique + value[:64]
    if kind == "wrong_encoding":
        # The good text in UTF-16: valid there, and no UTF-8 (the byte order mark is 0xFF 0xFE).
        return f"#{unique} ".encode("utf-16") + value.decode().encode("utf-16-le")
    envelope = json.loads(value)
    if kind == "field_missing":
        del envelope["data"]["price"]
    elif kind == "wrong_type":
        envelope["data"]["volume"] = f"many #{unique}"
    elif kind == "unknown_enum":
        envelope["type"] = f"market_tick_{unique}"
    elif kind == "oversized":
        envelope["data"]["padding"] = f"{unique:x}".rjust(MAX_ENVELOPE_BYTES + 1, "x")
    else:
        near = nearest(kind, KINDS)
        remedy = f"did you mean {near!r}?" if near else f"one of {', '.join(KINDS)}"
        raise UsageError(f"there is no poison {kind!r}", remedy=remedy)
    envelope["data"]["poison"] = unique
    return json.dumps(envelope, separators=(",", ":")).encode()
