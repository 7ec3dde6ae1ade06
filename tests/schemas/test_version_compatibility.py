"""What others read and write keeps its form: the version is in it, old files stay valid, schemas say what is parsed."""

from __future__ import annotations

import json

import pytest

from chaosd.catalogue import catalogue
from chaosd.cli.app import run
from chaosd.envelope import wire
from chaosd.envelope.model import EventEnvelope
from chaosd.experiment import document
from chaosd.experiment.parse import resolve
from chaosd.experiment.schema import experiment_schema
from chaosd.experiment.written import BROKERS_MAX, ExperimentForm, StepForm
from chaosd.kernel.errors import SourceError

FORMS = catalogue().forms
# An envelope of version 1 as it has been on the wire since the first release.
VERSION_1 = (
    b'{"id":"00000000-0000-4000-8000-000000000001","correlation_id":"00000000-0000-4000-8000-000000000001",'
    b'"causation_id":null,"trace_id":"00000000-0000-4000-8000-000000000001","parent_trace_id":null,"broker":"b",'
    b'"type":"market_tick","ts":"2026-01-01T00:00:00Z","key":"k","source":"s","version":1,"data":{"price":"1.10"}}'
)
# The example of the format's documentation.
FILE = """
chaosd: 1
title: Redis answers 400 ms late
target: reference
traffic:
  rate: 500/s
  streams: 4
  poison: 2%
phases: {warmup: 5s, baseline: 10s, hold: 5s}
timeline:
  - at: 0s
    for: 8s
    fault: latency
    on: redis
    latency: 400ms
    jitter: 100ms
    direction: downstream
expect:
  recovery: {within: 5s, from: heal}
  loss: none
  duplicates: allowed_during_faults
  order: per_key
  system_errors: exact
  latency: {p99_outside_faults: 500ms}
"""


def test_an_envelope_of_version_1_is_read_and_written_unchanged():
    assert wire.encode(wire.decode(VERSION_1)) == VERSION_1
    assert EventEnvelope.model_validate_json(VERSION_1).model_dump_json().encode() == VERSION_1


def test_an_envelope_with_a_field_of_a_later_version_is_still_read():
    later = VERSION_1[:-1] + b',"region":"eu"}'
    assert wire.decode(later) == wire.decode(VERSION_1)
    assert EventEnvelope.model_validate_json(later) == EventEnvelope.model_validate_json(VERSION_1)


@pytest.mark.parametrize("field", ["id", "correlation_id", "trace_id", "broker", "type", "ts", "key", "source"])
def test_an_envelope_without_a_required_field_is_refused_by_both(field):
    fields = json.loads(VERSION_1)
    del fields[field]
    with pytest.raises(ValueError, match=field):
        wire.decode(json.dumps(fields).encode())
    with pytest.raises(ValueError, match=field):
        EventEnvelope.model_validate(fields)


@pytest.mark.parametrize("field", ["causation_id", "parent_trace_id", "version", "data"])
def test_optional_fields_have_the_same_default_in_both(field):
    fields = json.loads(VERSION_1)
    del fields[field]
    value = json.dumps(fields).encode()
    assert wire.encode(wire.decode(value)) == EventEnvelope.model_validate_json(value).model_dump_json().encode()


def test_the_documented_example_is_an_experiment():
    assert resolve(document.parse(FILE, "x.yaml"), FORMS, name="x").timeline[0].id == "1-latency-redis"


def test_a_file_of_a_later_format_is_refused_by_its_version():
    with pytest.raises(SourceError, match="chaosd: unknown word; found 2; expected one of 1"):
        resolve(document.parse(FILE.replace("chaosd: 1", "chaosd: 2"), "x.yaml"), FORMS, name="x")


def test_the_schema_has_every_key_that_is_parsed():
    schema = experiment_schema(FORMS, ["reference"])
    assert set(schema["properties"]) == set(ExperimentForm.model_fields)
    steps = {step["title"]: step for step in schema["properties"]["timeline"]["items"]["oneOf"]}
    assert set(steps) == set(FORMS)
    common = {field.alias or name for name, field in StepForm.model_fields.items()}
    for name, step in steps.items():
        # Only the target has replicas to choose from.
        own = common if "target" in FORMS[name].on else common - {"replica"}
        assert set(step["properties"]) == own | set(FORMS[name].params.model_fields)
        on = step["properties"]["on"]
        # A service of a target file is named in the target file, not here.
        named, *service = on.get("anyOf", [on])
        assert named["enum"] == list(FORMS[name].things(BROKERS_MAX))
        assert bool(service) is ("target" in FORMS[name].on)
        assert step["properties"]["fault"] == {"const": name, "description": step["properties"]["fault"]["description"]}
        # What can be done to one thing alone needs no word for it.
        assert set(step["required"]) >= ({"at", "fault", "on"} if len(FORMS[name].on) > 1 else {"at", "fault"})


def test_quantities_are_text_in_the_schema_and_keep_no_default_in_nanoseconds():
    traffic = experiment_schema(FORMS)["$defs"]["TrafficForm"]["properties"]
    assert traffic["rate"]["type"] == "string"
    assert "500/s" in traffic["rate"]["examples"]
    assert "default" not in traffic["rate"]


@pytest.mark.parametrize(("what", "key"), [("experiment", "timeline"), ("verdict", "$defs")])
def test_schemas_are_printed_as_json(what, key, capsys):
    assert run(["schema", what]) == 0
    assert key in capsys.readouterr().out


def test_every_reference_inside_the_schema_can_be_followed():
    schema = experiment_schema(FORMS)
    used = set()

    def walk(node: object) -> None:
        if isinstance(node, dict):
            used.update([node["$ref"]] if "$ref" in node else [])
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(schema)
    assert {f"#/$defs/{name}" for name in schema["$defs"]} >= used
