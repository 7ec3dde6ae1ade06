"""What makes a finding the same finding after the lines around it moved."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from chaosd.kernel.finding import Finding

_LINE_NUMBERS = re.compile(r":\d+")


def normalised(message: str) -> str:
    """A message without line numbers."""
    return _LINE_NUMBERS.sub("", message)


def fingerprint(finding: Finding) -> str:
    """16 hex digits over path, rule, symbol and the message without line numbers."""
    text = "\0".join((finding.path, finding.rule, finding.symbol, normalised(finding.message)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def fingerprints(findings: Iterable[Finding]) -> list[str]:
    """One for each finding, in order; of several that are the same but for their line, the later get a number."""
    seen: Counter[str] = Counter()
    marks = []
    for finding in findings:
        mark = fingerprint(finding)
        marks.append(f"{mark}:{seen[mark]}" if seen[mark] else mark)
        seen[mark] += 1
    return marks
