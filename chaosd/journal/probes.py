"""The codes of the column kind `canaries`, apart from it: whoever mends needs them, and must not wait for numpy."""

from __future__ import annotations

from enum import IntEnum


class Path(IntEnum):
    """Which way a canary went."""

    DIRECT = 0
    PROXIED = 1


class Probe(IntEnum):
    """What a canary did."""

    PING = 0  # a small request on a connection that is already open
    CONNECT = 1  # a fresh connection and a small request
    BULK_UP = 2  # a large request, a small answer
    BULK_DOWN = 3  # a small request, a large answer
    CLOSE = 4  # our side of a fresh connection is closed; it ends when the other side is, and that is OK


class ProbeOutcome(IntEnum):
    """How a canary's probe ended. The names are the words of `Proof.words`, in lower case."""

    OK = 0
    TIMEOUT = 1
    REFUSED = 2
    RESET = 3
    EOF = 4
    ERROR = 5  # the server answered, with an error
