"""Logging in to PostgreSQL with a password: in clear, or by SCRAM-SHA-256 (RFC 5802, RFC 7677), as the server asks."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets
import struct

_CLEARTEXT, _SASL, _SASL_CONTINUE = 3, 10, 11
_MECHANISM = b"SCRAM-SHA-256"


@functools.lru_cache(maxsize=8)
def _salted(password: str, salt: bytes, rounds: int) -> bytes:
    # Slow on purpose; the same for every connection to one server.
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


class Scram:
    """The client's side of one login."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._first = b"n=,r=" + base64.b64encode(secrets.token_bytes(18))

    def next(self, answer: bytearray) -> bytes | None:
        """What to say to the server's first message, an authentication request; None when it asks for nothing."""
        if answer[:1] != b"R":
            return None
        length, wish = struct.unpack_from(">ii", answer, 1)
        data = bytes(answer[9 : length + 1])
        if wish == _CLEARTEXT:
            return _message(self._password.encode() + b"\0")
        if wish == _SASL and _MECHANISM in data.split(b"\0"):
            first = b"n,," + self._first
            return _message(_MECHANISM + b"\0" + struct.pack(">i", len(first)) + first)
        return _message(self._proof(data)) if wish == _SASL_CONTINUE else None

    def _proof(self, server_first: bytes) -> bytes:
        fields = dict(field.split(b"=", 1) for field in server_first.split(b","))
        salted = _salted(self._password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
        final = b"c=biws,r=" + fields[b"r"]
        client_key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), b",".join((self._first, server_first, final)))
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return final + b",p=" + base64.b64encode(proof)


def _message(body: bytes) -> bytes:
    return b"p" + struct.pack(">i", len(body) + 4) + body
