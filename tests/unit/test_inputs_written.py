"""Several input topics in a target file: what is written, what is wrong with it, and what cannot be done to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaosd.catalogue import catalogue
from chaosd.experiment import parse, target_file
from chaosd.experiment.fitting import _OF_A_GROUP
from chaosd.experiment.target import Pipeline
from chaosd.faults.table import FAULTS
from chaosd.kernel.errors import SourceError, UsageError
from chaosd.stack.handle import Address, Addresses, Postgres
from chaosd.target.pipeline import processes

FILE = """\
chaosd: 1
target:
  name: accounts
  command: ["${python}", worker.py]
  topics:
    input:
      - {name: orders, group: accounts, share: 3, value: '{"id": "${id}"}'}
      - {name: refunds, group: accounts, partitions: 2, value: 'R ${id}', key: "r-${key}"}
    output:
      - {name: bills, from: orders}
      - {name: credits, from: [refunds]}
      - {name: booked}
    dlq: {name: dead}
"""
EXPERIMENT = """\
chaosd: 1
title: one
target: chaosd.yaml
traffic: {rate: 10/s, streams: %s}
timeline: [%s]
"""


def read(folder: Path, text: str) -> Pipeline:
    path = folder / "chaosd.yaml"
    path.write_text(text)
    return target_file.read(path)


def experiment(folder: Path, step: str = "", streams: int = 8):
    path = folder / "one.chaos.yaml"
    path.write_text(EXPERIMENT % (streams, step))
    return parse.load(str(path), catalogue().forms, targets=("reference",))


def test_inputs_are_a_list_and_results_say_which_they_are_from(tmp_path):
    made = read(tmp_path, FILE)
    assert [(one.name, one.partitions, one.group) for one in made.inputs] == [
        ("orders", 4, "accounts"),
        ("refunds", 2, "accounts"),
    ]
    contract = made.contract
    assert [(one.topic, one.share, one.key) for one in contract.inputs] == [
        ("orders", 3, "${key}"),
        ("refunds", 1, "r-${key}"),
    ]
    assert [contract.owing(one) for one in contract.kinds] == [[0], [1], [0, 1]]


def test_a_list_of_one_is_the_same_as_the_one(tmp_path):
    one = "{name: orders, group: accounts, value: '${id}'}"
    text = "chaosd: 1\ntarget:\n  name: a\n  external: true\n  topics:\n    input: %s\n    output: [{name: bills}]\n"
    alone, listed = read(tmp_path, text % one), read(tmp_path, text % f"[{one}]")
    assert (alone.channels, alone.contract) == (listed.channels, listed.contract)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: refunds, ", "name: orders, ", "yaml:8:10: target.topics.input[1].name: this topic is named twice"),
        ("name: refunds, ", "nme: refunds, ", "target.topics.input[1].nme: unknown key"),
        ("name: refunds, ", "nme: refunds, ", "did you mean 'name'"),
        ("share: 3", "share: 0", "target.topics.input[0].share"),
        ("share: 3", "share: 1.5", "target.topics.input[0].share"),
        ("share: 3", "share: 1000", "target.topics.input[0].share"),
        ("from: orders", "from: ordrs", "chaosd.yaml:10:23: target.topics.output[0].from: there is no such input"),
        ("from: orders", "from: ordrs", "did you mean 'orders'"),
        ("from: [refunds]", "from: [refunds, bills]", "target.topics.output[1].from[1]: there is no such input"),
        ("from: [refunds]", "from: [refunds, refunds]", "this input is named twice"),
        ("from: [refunds]", "from: []", "target.topics.output[1].from"),
        ("{name: booked}", "{name: booked, min: 0}", None),
        ("name: credits, from: [refunds]}\n      - {name: booked}", "name: credits, min: 0}", "input[1]: nothing"),
        ("from: [refunds]}\n      - {name: booked}", "from: orders}", "nothing that is waited for comes of this input"),
        ("R ${id}", "R", "target.topics.input[1].value: nothing carries the identity"),
        ("value: 'R ${id}', ", "", "target.topics.input[1]: what is sent is not clear"),
        ("name: refunds, group: accounts", "name: refunds", "target.topics.input[1]: nobody knows when it is done"),
        ("name: credits", "name: bills", None),
        ("name: booked", "name: bills", "a `type` of its own for each of them, or inputs (`from`)"),
        ("  topics:", "  tables: [{name: t, key: k, from: nobody}]\n  topics:", "tables[0].from: there is no such"),
        ("  topics:", "  tables: [{name: t, key: k, from: refunds}]\n  topics:", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path, old, new, expected):
    assert old in FILE
    text = FILE.replace(old, new, 1)
    if expected is None:
        read(tmp_path, text)
        return
    with pytest.raises(SourceError) as caught:
        read(tmp_path, text)
    assert expected in caught.value.message


def test_an_empty_list_and_too_many_inputs_are_told(tmp_path):
    inputs = FILE[FILE.index("    input:\n") : FILE.index("    output:")]
    for given in ("[]", str([{"name": f"in{n}", "group": "g", "value": "${id}"} for n in range(9)])):
        with pytest.raises(SourceError, match=r"target\.topics\.input: cannot be this"):
            read(tmp_path, FILE.replace(inputs, f"    input: {given}\n"))


def test_groups_are_for_all_inputs_or_for_none(tmp_path):
    quiet = FILE.replace("  topics:", "  progress: {quiet: 4s}\n  topics:")
    assert "another input has a group, this one has none" in _refused(tmp_path, quiet, "name: refunds, group: accounts")
    made = read(tmp_path, quiet.replace("group: accounts, ", ""))
    assert [one.group for one in made.inputs] == ["", ""]


def _refused(folder: Path, text: str, without: str) -> str:
    with pytest.raises(SourceError) as caught:
        read(folder, text.replace(without, without.partition(",")[0]))
    return caught.value.message


def test_where_every_result_is_optional_each_input_must_still_be_named(tmp_path):
    text = FILE.replace("from: orders", "from: orders, min: 0").replace("[refunds]", "[refunds], min: 0")
    text = text.replace("{name: booked}", "{name: booked, from: orders, min: 0}")
    assert read(tmp_path, text).contract.owes_nothing
    with pytest.raises(SourceError, match="nothing that is waited for comes of this input"):
        read(tmp_path, text.replace("[refunds], min", "[orders], min"))


def test_the_schema_knows_both_forms():
    schema = target_file.schema()
    one, several = schema["$defs"]["TopicsForm"]["properties"]["input"]["oneOf"]
    assert one == {"$ref": "#/$defs/InputForm"}
    assert (several["type"], several["items"], several["minItems"], several["maxItems"]) == ("array", one, 1, 8)
    for form in ("OutputForm", "TableForm"):
        name, names = schema["$defs"][form]["properties"]["from"]["anyOf"]
        assert (name["type"], names["type"], names["items"]) == ("string", "array", name)


def test_the_only_service_is_ready_when_the_groups_of_all_inputs_are(tmp_path):
    proxied = Addresses(Address("h", 1), Address("h", 2), Postgres("h", 3, "u", "p", "d"))
    text = FILE.replace("name: refunds, group: accounts", "name: refunds, group: other")
    for given, groups in ((FILE, "accounts"), (text, "accounts\nother")):
        [made] = processes(read(tmp_path, given), proxied, tmp_path)
        assert made.ready == {"group": groups}


# --- experiments


def test_the_notes_say_how_the_traffic_is_shared_out(tmp_path):
    read(tmp_path, FILE)
    assert "of 8 streams: orders 6, refunds 2" in experiment(tmp_path).notes


def test_fewer_streams_than_inputs_are_refused(tmp_path):
    read(tmp_path, FILE)
    with pytest.raises(UsageError, match="2 inputs need at least 2 streams, and there are 1"):
        experiment(tmp_path, streams=1)


LIMIT = "{at: 0s, for: 1s, fault: max_message_bytes, on: kafka, limit: 200B, topic: %s}"


def test_a_fault_on_the_input_topic_is_refused_where_there_are_several(tmp_path):
    read(tmp_path, FILE)
    with pytest.raises(UsageError, match="max_message_bytes on the input topic: accounts has 2 of them"):
        experiment(tmp_path, LIMIT % "input")
    assert len(experiment(tmp_path, LIMIT % "output").timeline) == 1


def test_a_storm_in_the_group_needs_one_group_for_all_inputs(tmp_path):
    assert _OF_A_GROUP in FAULTS
    storm = "{at: 0s, for: 1s, fault: rebalance, on: kafka}"
    read(tmp_path, FILE)
    assert len(experiment(tmp_path, storm).timeline) == 1
    read(tmp_path, FILE.replace("name: refunds, group: accounts", "name: refunds, group: other"))
    with pytest.raises(UsageError, match="are read by several consumer groups"):
        experiment(tmp_path, storm)
