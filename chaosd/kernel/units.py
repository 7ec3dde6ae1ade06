"""Quantities as people write them: `400ms`, `500/s`, `64KB`, `2%`. Every one carries its unit."""

from __future__ import annotations

import re

_NUMBER = r"(?P<number>\d+(?:\.\d+)?)\s*"
_DURATION_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
# Toxiproxy counts a KB as 1000 bytes, and so does chaosd; the binary units are there for memory limits.
_SIZE_BYTES = {"B": 1, "KB": 1_000, "MB": 1_000_000, "KiB": 1_024, "MiB": 1_048_576}
_DURATION = re.compile(_NUMBER + r"(?P<unit>ns|us|ms|s|m|h)")
_RATE = re.compile(_NUMBER + r"/(?P<unit>s|m)")
_SIZE = re.compile(_NUMBER + r"(?P<unit>B|KB|MB|KiB|MiB)")
_BANDWIDTH = re.compile(_NUMBER + r"(?P<unit>B|KB|MB|KiB|MiB)/s")
_SHARE = re.compile(_NUMBER + r"%")

DURATION_FORM = "a duration such as 400ms, 5s or 2m"
RATE_FORM = "a rate such as 500/s or 30/m"
SIZE_FORM = "a size such as 512B, 64KB or 1MB"
BANDWIDTH_FORM = "a bandwidth such as 100KB/s"
SHARE_FORM = "a share such as 2%"


def _match(pattern: re.Pattern[str], text: object, form: str) -> re.Match[str]:
    found = pattern.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(form)
    return found


def parse_duration_ns(text: object) -> int:
    """`400ms` → 400_000_000. Raises ValueError naming the form when the unit is missing or unknown."""
    found = _match(_DURATION, text, DURATION_FORM)
    return round(float(found["number"]) * _DURATION_NS[found["unit"]])


def parse_rate_hz(text: object) -> float:
    """`500/s` → 500.0 a second."""
    found = _match(_RATE, text, RATE_FORM)
    return float(found["number"]) / (60 if found["unit"] == "m" else 1)


def parse_size_bytes(text: object) -> int:
    """`64KB` → 64_000 bytes."""
    found = _match(_SIZE, text, SIZE_FORM)
    return round(float(found["number"]) * _SIZE_BYTES[found["unit"]])


def parse_bandwidth_bytes_s(text: object) -> int:
    """`100KB/s` → 100_000 bytes a second."""
    found = _match(_BANDWIDTH, text, BANDWIDTH_FORM)
    return round(float(found["number"]) * _SIZE_BYTES[found["unit"]])


def parse_share(text: object) -> float:
    """`2%` → 0.02."""
    share = float(_match(_SHARE, text, SHARE_FORM)["number"]) / 100
    if share > 1:
        raise ValueError("a share of at most 100%")
    return share


def format_duration(ns: int) -> str:
    """The shortest exact writing: 400_000_000 → `400ms`, 90_000_000_000 → `90s`."""
    for unit in ("s", "ms", "us"):
        if ns % _DURATION_NS[unit] == 0:
            return f"{ns // _DURATION_NS[unit]}{unit}"
    return f"{ns}ns"
