"""The baseline: findings that a project has agreed to live with. New ones fail, those that are gone are told.

A finding is known by (path, rule, symbol, normalised message), never by its line; where a file holds the same one
twice, by how many there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chaosd.kernel.errors import SourceError, UsageError
from chaosd.kernel.finding import Finding
from chaosd.preflight.output.fingerprint import normalised

_VERSION = 1
_KEYS = ("path", "rule", "symbol", "message")
Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """`new` are not in the baseline, `known` are, `fixed` are keys of the baseline that are found no more."""

    new: tuple[Finding, ...]
    known: int
    fixed: tuple[Key, ...]


def key(finding: Finding) -> Key:
    """What a finding is known by."""
    return finding.path, finding.rule, finding.symbol, normalised(finding.message)


def load(file: Path) -> Counter[Key]:
    """Read a baseline. Raises UsageError when there is none, SourceError when it is not one."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the baseline {file}: {error.strerror}", remedy="write one with --write-baseline"
        ) from error
    except json.JSONDecodeError as error:
        raise SourceError(f"not JSON: {error.msg}", file=str(file), line=error.lineno, column=error.colno) from error
    except UnicodeDecodeError as error:
        raise SourceError("not UTF-8", file=str(file)) from error
    version = document.get("chaosd-baseline") if isinstance(document, dict) else None
    if version != _VERSION:
        raise SourceError(
            "not a baseline", file=str(file), expected=f'"chaosd-baseline": {_VERSION}', found=repr(version)
        )
    rows = document.get("findings")
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise SourceError(
            "findings are not as they must be", file=str(file), expected=f"objects with {', '.join(_KEYS)}"
        )
    return Counter((row["path"], row["rule"], row["symbol"], row["message"]) for row in rows)


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name), str) for name in _KEYS)


def compare(findings: Iterable[Finding], baseline: Counter[Key]) -> Compared:
    """Hold findings against a baseline."""
    left = baseline.copy()
    new: list[Finding] = []
    known = 0
    for finding in findings:
        if left[key(finding)] > 0:
            left[key(finding)] -= 1
            known += 1
        else:
            new.append(finding)
    return Compared(tuple(new), known, tuple(sorted((+left).elements())))


def write(file: Path, keys: Iterable[Key]) -> None:
    """Write a baseline, sorted, so that a difference in version control reads well. Raises UsageError."""
    rows = [dict(zip(_KEYS, one, strict=True)) for one in sorted(keys)]
    text = json.dumps({"chaosd-baseline": _VERSION, "findings": rows}, indent=1, ensure_ascii=False)
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the baseline {file}: {error.strerror}", remedy="choose another file") from error
