"""Dense identity: which envelope of which run, inside a UUIDv8, so that no look-up table is needed.

Layout (RFC 9562, version 8): custom_a = run tag (48 bits), custom_b = the high 12 bits of a check, custom_c = stream
(16), seq (32), the low 14 bits of the check. 26 check bits keep foreign UUIDs of the same version from being taken
for ours: one in 67 million passes by chance, and then it must still hit the run's tag.
"""

from __future__ import annotations

import hashlib
import uuid
from functools import lru_cache
from typing import NamedTuple

RUN_TAG_BITS = 48
STREAM_BITS = 16
SEQ_BITS = 32
HEADER_ID = "chaosd-id"
HEADER_DIGEST = "chaosd-digest"

_VERSION = 8
_VARIANT = 0b10
_CHECK_BITS = 26
_MIX_A, _MIX_B = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK_64 = (1 << 64) - 1


class Identity(NamedTuple):
    """One envelope: the run's tag, the stream, the number in the stream."""

    run_tag: int
    stream: int
    seq: int


def pack(run_tag: int, stream: int, seq: int) -> uuid.UUID:
    """The id of envelope (stream, seq) of a run. Raises ValueError when one does not fit its bits."""
    if not (0 <= run_tag < 1 << RUN_TAG_BITS and 0 <= stream < 1 << STREAM_BITS and 0 <= seq < 1 << SEQ_BITS):
        bits = f"{RUN_TAG_BITS}/{STREAM_BITS}/{SEQ_BITS} bits"
        raise ValueError(f"identity ({run_tag}, {stream}, {seq}) does not fit {bits}")
    check = _check(run_tag, stream, seq)
    low = (_VARIANT << 62) | (stream << 46) | (seq << 14) | (check & 0x3FFF)
    return uuid.UUID(int=(run_tag << 80) | (_VERSION << 76) | ((check >> 14) << 64) | low)


def unpack(text: uuid.UUID | str) -> Identity | None:
    """Whose id it is, None for one that chaosd did not make."""
    try:
        number = text.int if isinstance(text, uuid.UUID) else uuid.UUID(text).int
    except (ValueError, AttributeError, TypeError):
        return None
    if (number >> 76) & 0xF != _VERSION or (number >> 62) & 0b11 != _VARIANT:
        return None
    run_tag, stream, seq = number >> 80, (number >> 46) & 0xFFFF, (number >> 14) & 0xFFFFFFFF
    if ((number >> 64) & 0xFFF) << 14 | (number & 0x3FFF) != _check(run_tag, stream, seq):
        return None
    return Identity(run_tag, stream, seq)


def child(parent: uuid.UUID, kind: str) -> uuid.UUID:
    """The id of the one child of this kind: the same however often it is made."""
    return uuid.uuid5(parent, kind)


def digest(run_tag: int, stream: int, seq: int, topic: str, key: bytes, value: bytes) -> bytes:
    """What proves an input record, as ASCII hex.

    It covers the intended topic and key because clients have put a batch on the wrong one (KAFKA-19012), and the
    record's own CRC covers neither.
    """
    made = hashlib.blake2b(value, digest_size=12, key=_prefix(run_tag, topic))
    made.update(b"%d/%d/" % (stream, seq))
    made.update(key)
    return made.hexdigest().encode()


@lru_cache(maxsize=64)
def _prefix(run_tag: int, topic: str) -> bytes:
    return hashlib.blake2b(f"{run_tag}/{topic}".encode(), digest_size=32).digest()


def _check(run_tag: int, stream: int, seq: int) -> int:
    """The finalizer of splitmix64 over all fields (Steele, Lea, Flood 2014)."""
    mixed = (run_tag * 0x9E3779B97F4A7C15 + (stream << 32) + seq + 1) & _MASK_64
    mixed = ((mixed ^ (mixed >> 30)) * _MIX_A) & _MASK_64
    mixed = ((mixed ^ (mixed >> 27)) * _MIX_B) & _MASK_64
    return (mixed ^ (mixed >> 31)) >> (64 - _CHECK_BITS)
