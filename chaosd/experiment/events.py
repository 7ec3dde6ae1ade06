"""CloudEvents on Kafka, structured and binary, as one body: attributes at the top, the payload under `data`. Pure.

Source: CloudEvents 1.0.2, JSON event format (3) and Kafka protocol binding (3.2, 3.3).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from chaosd.experiment import where

_PREFIX = "ce_"
_VERSION = "specversion"
_STRUCTURED = "application/cloudevents+json"


def body(value: bytes | None, headers: Mapping[str, bytes]) -> Any:
    """The event; ABSENT for what is none."""
    told = {name.lower(): raw for name, raw in headers.items()}
    kind = told.get("content-type", b"").decode("ascii", "replace").lower()
    if f"{_PREFIX}{_VERSION}" in told and not kind.startswith(_STRUCTURED):
        return _binary(value, told)
    found = where.body(value)
    if not isinstance(found, dict) or _VERSION not in found:
        return where.ABSENT
    if "data" not in found and isinstance(found.get("data_base64"), str):
        try:
            return {**found, "data": where.body(base64.b64decode(found["data_base64"], validate=True))}
        except binascii.Error:
            return where.ABSENT
    return found


def _binary(value: bytes | None, told: Mapping[str, bytes]) -> Any:
    try:
        attributes = {
            name.removeprefix(_PREFIX): raw.decode() for name, raw in told.items() if name.startswith(_PREFIX)
        }
    except UnicodeDecodeError:
        return where.ABSENT
    data = where.body(value)
    return attributes if data is where.ABSENT else {**attributes, "data": data}
