"""All rules, one line each, in the groups of the documentation. A new rule is one file and one line here."""

from __future__ import annotations

from chaosd.preflight.rules import (
    await_on_sync,
    call_signature,
    decode_mode,
    dlq_without_system_error,
    float_money,
    kafka_serializer,
    missing_attribute,
    missing_await,
    missing_field,
    missing_method,
    mro_conflict,
    naive_datetime,
    nan_in_json,
    not_json,
    optional_parameter,
    override_signature,
    payload_key_mismatch,
    protocol_member_missing,
    protocol_signature,
    return_mismatch,
    syntax_error,
    unknown_enum_member,
    unknown_enum_value,
    unknown_field,
)
from chaosd.preflight.rules.rule import Rule

GROUPS: dict[str, tuple[Rule, ...]] = {
    "contract": (
        missing_method.rule,
        missing_attribute.rule,
        call_signature.rule,
        missing_await.rule,
        await_on_sync.rule,
        protocol_member_missing.rule,
        protocol_signature.rule,
        override_signature.rule,
        mro_conflict.rule,
        return_mismatch.rule,
        optional_parameter.rule,
    ),
    "schema": (
        unknown_enum_member.rule,
        unknown_enum_value.rule,
        unknown_field.rule,
        missing_field.rule,
        payload_key_mismatch.rule,
        dlq_without_system_error.rule,
    ),
    "redis": (decode_mode.rule,),
    "serialization": (
        not_json.rule,
        nan_in_json.rule,
        float_money.rule,
        naive_datetime.rule,
        kafka_serializer.rule,
    ),
    "source": (syntax_error.rule,),
}
RULES: tuple[Rule, ...] = tuple(rule for rules in GROUPS.values() for rule in rules)
