"""The table of rules in docs/preflight/README.md: written from the rules, so that it cannot say anything else.

python -m chaosd.preflight.rules.pages docs/preflight/README.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from chaosd.preflight.rules.table import GROUPS

BEGIN = "<!-- rules: written by python -m chaosd.preflight.rules.pages -->"
END = "<!-- end of rules -->"
_OTHERS = (
    ("evolution", "schema-evolution", "a model that no longer reads what was written, or is no longer read"),
    ("tier 2", "tier2-attribute", "what a type checker adds: an attribute that the object's class does not have"),
    ("tier 2", "tier2-bytes", "what a type checker adds: bytes where text is needed, or text where bytes are"),
    ("source", "unused-suppression", "an `ignore[…]` comment with nothing to ignore"),
)


def table() -> str:
    """One row for each rule, in groups."""
    rows = ["| group | rule | finds |", "|---|---|---|"]
    for group, rules in GROUPS.items():
        rows += [f"| {group} | [{rule.name}]({rule.name}.md) | {rule.summary} |" for rule in rules]
    rows += [f"| {group} | [{name}]({name}.md) | {finds} |" for group, name, finds in _OTHERS]
    return "\n".join(rows)


def renewed(text: str) -> str:
    """The page with the table as it must be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
