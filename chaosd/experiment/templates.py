"""Texts with places that are filled in: `${id}`. One syntax for records, rules and environments; `$${` is a plain `${`.

`$` and not only braces, because the texts are mostly JSON. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from chaosd.kernel.errors import nearest

_PLACE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")


def places(text: str) -> tuple[str, ...]:
    """The names of the places, in their order."""
    return tuple(match[1] for match in _PLACE.finditer(text) if match[1] is not None)


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with every place filled in. Raises KeyError for a place without a value."""
    return _PLACE.sub(lambda match: "${" if match[1] is None else values[match[1]], text)


def unknown(text: str, known: Collection[str]) -> tuple[str, str | None] | None:
    """The first place that is none of those known, and the nearest name; None when all are known.

    A known name that ends in a dot stands for all that begin with it.
    """
    for name in places(text):
        if name not in known and not any(one.endswith(".") and name.startswith(one) and name != one for one in known):
            return name, nearest(name, known)
    return None
