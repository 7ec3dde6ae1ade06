"""Where something stands in a record: `$.meta.id` in its JSON, `header:x-id` among its headers, `key`. Pure.

A path is the part of JSONPath that names exactly one thing (RFC 9535, 2.3.1 and 2.3.3): `$.a.b`, `$['a b'].c`,
`$.a[0]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Self

FORMS = "a path such as $.meta.id, `header:NAME`, or `key`"
_HEADER = "header:"
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(\d+)\]|\['([^']+)'\]")
# What is not there: None is a value of JSON.
ABSENT = object()


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it is asked: `body` is its JSON with numbers as Decimal, ABSENT where it is none."""

    key: bytes | None
    body: Any
    headers: Mapping[str, bytes]


def check(text: str) -> str:
    """Give the text back. Raises ValueError, with what is expected, when it names no place."""
    if text != "key" and not (text.startswith(_HEADER) and len(text) > len(_HEADER)):
        steps(text)
    return text


@lru_cache(maxsize=512)
def steps(text: str) -> tuple[str | int, ...]:
    """The steps of a path. Raises ValueError when it is none."""
    if not text.startswith("$"):
        raise ValueError(FORMS)
    found: list[str | int] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(f"{FORMS}; `{text[at:]}` is no step of a path that names one thing")
        found.append(int(match[2]) if match[2] is not None else match[1] or match[3])
        at = match.end()
    return tuple(found)


def find(where: str, seen: Seen) -> Any:
    """What stands there: text for a header or the key (bytes that are no UTF-8 are ABSENT), a JSON value for a path."""
    if where == "key":
        return _text(seen.key)
    if where.startswith(_HEADER):
        return _text(seen.headers.get(where.removeprefix(_HEADER)))
    value = seen.body
    for step in steps(where):
        inside = isinstance(value, dict) and step in value
        if not inside and not (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            return ABSENT
        value = value[step]
    return value


def as_text(value: Any) -> str | None:
    """A value as it is compared with a rule: the text itself, a number as it was written; None for what has no text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, (int, Decimal)):
        return str(value)
    if value is None:
        return "null"
    return None


def body(value: bytes | None) -> Any:
    """The JSON of a value, every number with a fraction a Decimal as it was written; ABSENT where it is no JSON."""
    try:
        return json.loads((value or b"").decode(), parse_float=_Written)
    except (ValueError, RecursionError):
        return ABSENT


class _Written(Decimal):
    """A number that shows itself as it stood in the text: Decimal would write 1e3 as 1E+3."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Keep the text."""
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text


def _text(raw: bytes | None) -> Any:
    if raw is None:
        return ABSENT
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ABSENT
