"""All rules, one line each. A new rule is one file and one line here."""

from __future__ import annotations

from chaosd.preflight.rules import decode_mode, missing_method, syntax_error, unknown_enum_member
from chaosd.preflight.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    syntax_error.rule,
    missing_method.rule,
    unknown_enum_member.rule,
    decode_mode.rule,
)
