"""What a dead letter says, whatever dialect it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Where the original record was, what was wrong with it, and what the letter still carries of it.

    `partition` and `offset` are -1 where the letter does not tell. `exact`: key, value and headers are the original's
    own bytes; without it they went through text, and bytes that were no UTF-8 cannot be had back from the letter alone.
    `may_replay` is False where the letter itself says that the same record would fail again.
    """

    dialect: str
    topic: str
    partition: int
    offset: int
    error_type: str
    error_class: str
    error_message: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    exact: bool
    may_replay: bool = True

    @property
    def placed(self) -> bool:
        """Whether the letter says where its original is."""
        return bool(self.topic) and self.partition >= 0 and self.offset >= 0


@dataclass(frozen=True, slots=True)
class Dialect:
    """`read` takes key, value and headers of a record of the DLQ; None for a record that is not of this dialect."""

    name: str
    read: Callable[[bytes | None, bytes | None, Headers], DeadLetter | None]


def text(headers: Mapping[str, bytes], name: str) -> str:
    """A header as text; empty when it is not there."""
    return (headers.get(name) or b"").decode("utf-8", "replace")


def number(headers: Mapping[str, bytes], name: str) -> int:
    """A header that holds a decimal number as text; -1 when it does not."""
    found = text(headers, name).strip()
    return int(found) if found.isascii() and found.isdigit() else -1


def without(headers: Headers, prefix: str) -> tuple[tuple[str, bytes], ...]:
    """The headers that the original had: all but those that the dialect added."""
    return tuple((name, value) for name, value in headers if not name.startswith(prefix))


def in_text_headers(name: str, prefix: str, *, error_class: str, error_message: str) -> Dialect:
    """A dialect whose letters are the original record and headers of text under a prefix.

    Topic, partition and offset have those very names; `error_class` and `error_message` are the names of the other two.
    """

    def read(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
        told = dict(headers)
        if f"{prefix}topic" not in told:
            return None
        return DeadLetter(
            dialect=name,
            topic=text(told, f"{prefix}topic"),
            partition=number(told, f"{prefix}partition"),
            offset=number(told, f"{prefix}offset"),
            error_type="",
            error_class=text(told, f"{prefix}{error_class}"),
            error_message=text(told, f"{prefix}{error_message}"),
            key=key,
            value=value,
            headers=without(headers, prefix),
            exact=True,
        )

    return Dialect(name, read)
