"""What makes a finding the same finding after the lines around it moved."""

from __future__ import annotations

import hashlib
import re

from chaosd.kernel.finding import Finding

_LINE_NUMBERS = re.compile(r":\d+")


def fingerprint(finding: Finding) -> str:
    """16 hex digits over path, rule, symbol and the message without line numbers."""
    text = "\0".join((finding.path, finding.rule, finding.symbol, _LINE_NUMBERS.sub("", finding.message)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
