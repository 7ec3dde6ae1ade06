"""For programs: the format documented in docs/preflight/README.md."""

from __future__ import annotations

import json

from chaosd import __version__
from chaosd.preflight.output.fingerprint import fingerprints
from chaosd.preflight.report import Report


def render(report: Report) -> str:
    """One JSON object; keys are only ever added."""
    return json.dumps(
        {
            "chaosd": __version__,
            "root": str(report.root),
            "files": report.files,
            "unparsed": report.unparsed,
            "calls": report.calls,
            "calls_resolved": report.calls_resolved,
            "findings": [
                {
                    "path": finding.path,
                    "line": finding.line,
                    "column": finding.column,
                    "rule": finding.rule,
                    "confidence": str(finding.confidence),
                    "symbol": finding.symbol,
                    "message": finding.message,
                    "defined_at": finding.defined_at,
                    "fingerprint": mark,
                }
                for finding, mark in zip(report.findings, fingerprints(report.findings), strict=True)
            ],
        },
        indent=2,
        ensure_ascii=False,
    )
