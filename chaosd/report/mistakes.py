"""Mistakes in the files people write, as CI reads them: text, annotations of GitHub, SARIF 2.1.0.

SARIF: docs.oasis-open.org/sarif/sarif/v2.1.0; GitHub shows it as code scanning results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from chaosd import __version__
from chaosd.kernel.errors import SourceError
from chaosd.report.github import command

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RULE = "experiment-file"


def _text(mistakes: Sequence[SourceError]) -> str:
    return "".join(f"{_first(one)}\n" for one in mistakes)


def _github(mistakes: Sequence[SourceError]) -> str:
    lines = [
        command("error", f"chaosd {RULE}", said(one), file=one.file, line=one.line or 1, column=one.column or 1)
        for one in mistakes
    ]
    return "".join(line + "\n" for line in lines)


def _sarif(mistakes: Sequence[SourceError]) -> str:
    rule = {
        "id": RULE,
        "shortDescription": {"text": "A file for chaosd is not as it must be"},
        "fullDescription": {"text": "`chaosd schema` prints the JSON Schema of what may stand in it."},
        "defaultConfiguration": {"level": "error"},
    }
    driver = {"name": "chaosd", "version": __version__, "semanticVersion": __version__, "rules": [rule]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": [_result(one) for one in mistakes]}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _result(one: SourceError) -> dict[str, Any]:
    place = {
        "artifactLocation": {"uri": PurePath(one.file).as_posix()},
        "region": {"startLine": one.line or 1, "startColumn": one.column or 1},
    }
    # Lines move; what is wrong with which key does not.
    mark = hashlib.sha256("\0".join((PurePath(one.file).as_posix(), one.path, one.problem, one.found)).encode())
    return {
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": "error",
        "message": {"text": said(one)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"chaosd/v1": mark.hexdigest()[:16]},
    }


def said(one: SourceError) -> str:
    """The mistake without its place: what is wrong, what was found and expected, the nearest name."""
    return _first(one).partition(": ")[2] or one.message


def _first(one: SourceError) -> str:
    """Its own line: a message may hold further mistakes of the same file, which are in `others` too."""
    return one.message.partition("\n")[0]


FORMATS: dict[str, Callable[[Sequence[SourceError]], str]] = {"text": _text, "github": _github, "sarif": _sarif}
