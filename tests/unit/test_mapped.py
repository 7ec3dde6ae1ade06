"""Records of a pipeline of somebody's own: each is identified and held against the rules, or has no identity."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaosd.envelope import identity
from chaosd.envelope.partition import partition_of
from chaosd.experiment.content import UNKNOWN_TYPE, Deviation, Inspection, Role
from chaosd.experiment.contract import Contract, Input, Letters, Result, Table
from chaosd.experiment.mapped import MappedContent
from chaosd.experiment.plan import Segment

RUN_TAG = 77
VALUE = '{"id": "${id}", "who": "${key}", "amount": "${amount}", "n": ${count}}'
RESULT = Result("out", fields={"$.who": "${key}", "$.n": "${count}"})
CONNECT = Letters("kafka-connect", types={"JSONDecodeError": "poison"})
POISON = (("not_json", 0.3), ("wrong_encoding", 0.3))


def content(*results: Result, identify: Any = None, **more: Any) -> MappedContent:
    sent = {name: more.pop(name) for name in ("key", "headers") if name in more}
    rules = {"id": "$.of", "letters": CONNECT, **more}
    contract = Contract([Input("in", VALUE, **sent)], list(results or (RESULT,)), **rules)
    made = MappedContent(RUN_TAG, 5, 4, 1_750_000_000_000_000_000, contract, identify)
    made.add(Segment(0, "baseline", 0, 400, 0, 1, 4, POISON))
    return made


def origin(_topic: str, _partition: int, _offset: int) -> tuple[int, int] | None:
    return None


def output(made: MappedContent, body: Any, *, key: bytes | None = None, headers: Any = (), topic: str = "out"):
    key = made.render(1, 7, 0).key if key is None else key
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return made.inspect(Role.OUTPUT, topic, 0, key, raw, headers, origin)


def good(made: MappedContent, **more: Any) -> dict[str, Any]:
    order = json.loads(made.render(1, 7, 0).value)
    return {"of": order["id"], "who": order["who"], "n": order["n"], **more}


def test_the_input_is_the_template_filled_in_and_proves_itself():
    made = content(key="c-${key}", headers={"x-n": "${seq}"})
    record = made.render(1, 7, 0)
    order = json.loads(record.value)
    assert identity.unpack(order["id"]) == identity.Identity(RUN_TAG, 1, 7)
    assert order["who"] == record.key.decode() == made.key_of(1)
    assert record.key.startswith(b"c-K1")
    assert dict(record.headers)["x-n"] == b"7"
    partition = partition_of(record.key, 4)
    assert partition == 1
    found = made.inspect(Role.INPUT, "in", partition, record.key, record.value, record.headers, origin)
    assert (found.stream, found.seq, found.deviation) == (1, 7, Deviation.NONE)


def test_a_result_that_keeps_every_rule_is_right():
    made = content()
    assert output(made, good(made)) == Inspection(1, 7, 0, Deviation.NONE)


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ({"who": "other"}, None, Deviation.FIELD),
        ({"n": "1e3"}, None, Deviation.FIELD),
        ({"n": None}, None, Deviation.FIELD),
        ({}, b"other", Deviation.KEY),
    ],
)
def test_a_broken_rule_is_seen(body, key, expected):
    made = content()
    assert output(made, good(made, **body), key=key).deviation == expected


def test_a_number_is_compared_as_it_was_written():
    made = content(Result("out", fields={"$.total": "${amount}"}))
    amount = json.loads(made.render(1, 7, 0).value)["amount"]
    raw = json.dumps(good(made))[:-1] + f', "total": {amount}' + "}"
    assert output(made, raw.encode()).deviation == Deviation.NONE
    wrong = json.dumps(good(made))[:-1] + f', "total": {amount}0' + "}"
    assert output(made, wrong.encode()).deviation == Deviation.FIELD


@pytest.mark.parametrize("body", [b"no json", b"\xff\xfe", {}, {"of": 17}, {"of": "x"}, [1]])
def test_what_has_no_identity_is_called_so(body):
    found = output(content(), body)
    assert found.deviation & Deviation.UNIDENTIFIED
    assert found.stream == -1


def test_identities_of_other_runs_and_of_nobody_are_told_apart():
    made = content()
    assert output(made, {"of": str(identity.pack(1, 1, 7))}).deviation == Deviation.FOREIGN
    assert output(made, {"of": str(identity.pack(RUN_TAG, 1, 9999))}).deviation == Deviation.UNPLANNED


def test_the_identity_may_be_part_of_a_text_or_stand_in_a_header_or_the_key():
    own = str(identity.pack(RUN_TAG, 1, 7))
    assert output(content(), good(content(), of=f"order-{own}")).seq == 7
    made = content(id="header:order")
    assert output(made, good(made), headers=[("order", own.encode())]).seq == 7
    made = content(Result("out", key="${id}"), id="key")
    assert output(made, {}, key=own.encode()) == Inspection(1, 7, 0, Deviation.NONE)


def test_results_on_one_topic_are_told_apart_by_type():
    made = content(Result("out", "a"), Result("out", "b"), Result("other"), type="$.type")
    assert output(made, good(made, type="b")) == Inspection(1, 7, 1, Deviation.NONE)
    assert output(made, good(made, type="c")) == Inspection(1, 7, UNKNOWN_TYPE, Deviation.TYPE)
    assert output(made, good(made), topic="other") == Inspection(1, 7, 2, Deviation.NONE)


def test_cloud_events_are_read_in_both_modes():
    made = content(id="$.data.of", type="$.type", events=True)
    event = {"specversion": "1.0", "id": "x", "source": "/", "type": "bill", "data": good(made)}
    rules = content(Result("out", "bill", fields={"$.data.n": "${count}"}), id="$.data.of", type="$.type", events=True)
    assert output(rules, event) == Inspection(1, 7, 0, Deviation.NONE)
    headers = [("ce_specversion", b"1.0"), ("ce_type", b"bill"), ("content-type", b"application/json")]
    assert output(rules, good(made), headers=headers) == Inspection(1, 7, 0, Deviation.NONE)
    assert output(rules, good(made)).deviation & Deviation.UNIDENTIFIED


def test_a_function_of_the_users_finds_what_places_cannot_say():
    made = content(identify=lambda topic, key, value, headers: (value.decode().split("|")[0], None))
    own = str(identity.pack(RUN_TAG, 1, 7))
    assert output(made, f"{own}|x".encode()).seq == 7


def letter(made: MappedContent, seq: int, *, kind: int, error: str = "json.JSONDecodeError", **change: Any):
    record = made.render(1, seq, kind)
    prefix = "__connect.errors."
    told = {"topic": "in", "partition": "1", "offset": "5", "exception.class.name": error}
    headers = [*record.headers, *((prefix + name, text.encode()) for name, text in told.items())]
    raw = change.get("value", record.value)
    return made.inspect(Role.DLQ, "dlq", 0, change.get("key", record.key), raw, headers, origin)


def seq_of(made: MappedContent, kind: int) -> int:
    return next(seq for seq in range(100) if made.kind(1, seq) == kind)


def test_a_dead_letter_is_held_against_the_original():
    made = content()
    seq = seq_of(made, 1)
    assert letter(made, seq, kind=1) == Inspection(1, seq, UNKNOWN_TYPE, Deviation.NONE, 1, 5, "in")
    assert letter(made, seq, kind=1, value=b"x").deviation == Deviation.PAYLOAD
    assert letter(made, seq, kind=1, key=b"x").deviation == Deviation.KEY
    assert letter(made, seq, kind=1, error="KeyError").deviation == Deviation.ERROR_TYPE


def test_without_a_map_of_classes_error_types_are_not_judged_and_that_is_said():
    made = content(letters=Letters("kafka-connect"))
    assert letter(made, seq_of(made, 1), kind=1, error="KeyError").deviation == Deviation.NONE
    contract = Contract([Input("in", VALUE)], [RESULT], letters=Letters("kafka-connect"))
    assert any("error types" in one for one in contract.not_judged())


def test_a_letter_of_another_dialect_has_no_identity():
    made = content(letters=Letters("spring"))
    assert letter(made, seq_of(made, 1), kind=1).deviation & Deviation.UNIDENTIFIED


def test_a_dialect_of_ones_own_says_where_its_parts_stand():
    made = content(letters=Letters(places={"value": "$.original", "error_class": "$.why"}, types={"Bad": "poison"}))
    seq = seq_of(made, 1)
    record = made.render(1, seq, 1)
    raw = json.dumps({"original": record.value.decode(), "why": "Bad"}).encode()
    found = made.inspect(Role.DLQ, "dlq", 0, None, raw, record.headers, origin)
    assert (found.seq, found.deviation) == (seq, Deviation.NONE)
    raw = json.dumps({"original": "x", "why": "Good"}).encode()
    found = made.inspect(Role.DLQ, "dlq", 0, None, raw, record.headers, origin)
    assert found.deviation == Deviation.PAYLOAD | Deviation.ERROR_TYPE
    assert made.inspect(Role.DLQ, "dlq", 0, None, b"{}", (), origin).deviation & Deviation.UNIDENTIFIED


LEDGER = Table("ledger", "order_id", {"who": "${key}", "n": "${count}"})


def row(made: MappedContent, **changed: Any) -> Inspection:
    whole = good(made)
    told = {"order_id": f"o-{whole['of']}", "who": whole["who"], "n": str(whole["n"])}
    value = json.dumps({**told, **changed}).encode()
    return made.inspect(Role.TABLE, "table ledger", 0, None, value, (), origin)


def test_a_row_of_a_table_that_keeps_every_rule_is_right():
    assert row(content(tables=[LEDGER])) == Inspection(1, 7, 1, Deviation.NONE)


@pytest.mark.parametrize("changed", [{"who": "other"}, {"n": None}, {"n": "7.0"}])
def test_a_column_that_differs_is_seen(changed):
    assert row(content(tables=[LEDGER]), **changed) == Inspection(1, 7, 1, Deviation.FIELD)


@pytest.mark.parametrize("key", [None, "17", "no uuid at all"])
def test_a_row_without_an_identity_is_nobodys(key):
    assert row(content(tables=[LEDGER]), order_id=key).deviation == Deviation.UNIDENTIFIED


def test_a_row_of_another_run_is_foreign():
    assert row(content(tables=[LEDGER]), order_id=str(identity.pack(RUN_TAG + 1, 1, 7))).deviation & Deviation.FOREIGN


@pytest.mark.parametrize("shape", ["price of {id}", '{{"deep": {{"of": "x-{id}"}}}}', "{id} and once more {id}"])
def test_between_services_the_identity_is_found_in_any_shape(shape):
    made = content()
    value = shape.format(id=good(made)["of"]).encode()
    found = made.inspect(Role.INTERNAL, "prices", 0, b"k", value, (), origin)
    assert found == Inspection(1, 7, UNKNOWN_TYPE, Deviation.NONE)
    found = made.inspect(Role.INTERNAL, "prices", 0, b"k", b"v", (("of", value),), origin)
    assert (found.stream, found.seq) == (1, 7)


@pytest.mark.parametrize("others", [(), ((RUN_TAG, 1, 8),), ((RUN_TAG + 1, 1, 8),)])
def test_between_services_a_record_of_none_or_of_several_is_nobodys(others):
    made = content()
    told = [str(identity.pack(*one)) for one in others]
    own = [good(made)["of"]] if any(one[0] == RUN_TAG for one in others) else []
    found = made.inspect(Role.INTERNAL, "prices", 0, b"k", " ".join([*told, *own]).encode(), (), origin)
    assert found.deviation == Deviation.UNIDENTIFIED
