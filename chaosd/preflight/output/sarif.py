"""SARIF 2.1.0 (OASIS), as GitHub code scanning and editors read it.

`ruleId` is stable, paths are relative to %SRCROOT%, and `partialFingerprints` carry the fingerprint that survives moved
lines. `columnKind` is unicodeCodePoints, since columns count characters; SARIF counts them from 1.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from chaosd import __version__
from chaosd.kernel.finding import Confidence, Finding
from chaosd.preflight.output.fingerprint import fingerprints
from chaosd.preflight.output.paths import from_here
from chaosd.preflight.report import EVOLVED, TIER2_ATTRIBUTE, TIER2_BYTES, UNUSED, Report
from chaosd.preflight.rules.table import RULES

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Confidence.HIGH: "error", Confidence.LOW: "warning"}


def render(report: Report) -> str:
    """One run with all rules and all findings."""
    rules = [(rule.name, rule.summary) for rule in RULES]
    rules.append((EVOLVED, "a model that no longer reads what was written, or is no longer read"))
    rules.append((TIER2_ATTRIBUTE, "an attribute that the object's class does not have, told by a type checker"))
    rules.append((TIER2_BYTES, "bytes where text is needed or text where bytes are, told by a type checker"))
    rules.append((UNUSED, "an ignore comment with nothing to ignore"))
    places = {name: at for at, (name, _) in enumerate(rules)}
    marks = fingerprints(report.findings)
    driver = {
        "name": "chaosd preflight",
        "version": __version__,
        "rules": [{"id": name, "shortDescription": {"text": text}} for name, text in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "the folder that chaosd preflight ran in"}}},
        "invocations": [{"executionSuccessful": not report.unparsed}],
        "results": [
            _result(report, finding, mark, places) for finding, mark in zip(report.findings, marks, strict=True)
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _result(report: Report, finding: Finding, mark: str, places: dict[str, int]) -> dict[str, Any]:
    location = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(from_here(report, finding.path)), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": finding.line, "startColumn": finding.column + 1},
        }
    }
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.confidence],
        "message": {"text": finding.message},
        "locations": [location],
        "partialFingerprints": {"chaosd/v1": mark},
    }
    if finding.rule in places:
        result["ruleIndex"] = places[finding.rule]
    return result
