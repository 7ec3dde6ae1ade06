"""The parameters of faults: what is refused before it reaches Toxiproxy, and which proofs follow from them."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from pydantic import ValidationError

from chaosd.faults.table import FAULTS, forms
from chaosd.kernel.proof import Relation, Source
from chaosd.stack.providers.embedded import CAPABILITIES as EMBEDDED
from chaosd.stack.providers.external import COMPOSE
from chaosd.stack.providers.section import StackSection

GOOD = {
    "latency": {"latency": "400ms", "jitter": "100ms", "direction": "both"},
    "bandwidth": {"rate": "50KB/s"},
    "reset": {},
    "blackhole": {"direction": "upstream"},
    "down": {},
    "restart": {},
    "kill": {},
    "pause": {},
    "client_kill": {"every": "250ms"},
    "maxmemory": {"headroom": "1MB"},
    "readonly_replica": {},
    "maxclients": {"leave": 1},
    "flush": {},
    "terminate_backends": {"every": "1s"},
    "exhaust_connections": {"leave": 2},
    "lock_table": {"table": "app.orders"},
    "read_only": {},
    "slow_statements": {"table": "orders", "delay": "300ms"},
}


@pytest.mark.parametrize("name", FAULTS)
def test_params_survive_the_lease(name):
    model = FAULTS[name].params
    params = model.model_validate(GOOD[name])
    assert model.model_validate(json.loads(json.dumps(params.model_dump(mode="json")))) == params


@pytest.mark.parametrize("name", FAULTS)
def test_unknown_parameter_is_refused(name):
    with pytest.raises(ValidationError):
        FAULTS[name].params.model_validate({**GOOD[name], "latencey": "1s"})


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_proofs_and_a_schema(name):
    fault = FAULTS[name]
    params = fault.params.model_validate(GOOD[name])
    for on in fault.on:
        assert fault.bite(on, params)
        assert fault.healed(on, params)
    assert fault.params.model_json_schema()["additionalProperties"] is False
    assert fault.summary.endswith(".")


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("latency", {}),
        ("latency", {"latency": 400}),
        ("latency", {"latency": "400"}),
        ("latency", {"latency": "0ms"}),
        ("latency", {"latency": "0.4ms"}),
        ("latency", {"latency": "2m"}),
        ("latency", {"latency": "-5ms"}),
        ("latency", {"latency": "100ms", "jitter": "101ms"}),
        ("latency", {"latency": "100ms", "direction": "sideways"}),
        ("bandwidth", {"rate": "0KB/s"}),
        ("bandwidth", {"rate": "-1KB/s"}),
        ("bandwidth", {"rate": "1.5KB/s"}),
        ("bandwidth", {"rate": "50KB"}),
        ("client_kill", {"every": "99ms"}),
        ("client_kill", {"every": "61s"}),
        ("maxmemory", {"headroom": "1"}),
        ("maxmemory", {"headroom": "2000MB"}),
        ("maxclients", {"leave": -1}),
        ("terminate_backends", {"every": "0ms"}),
        ("exhaust_connections", {"leave": 1001}),
        ("lock_table", {}),
        ("lock_table", {"table": "ticks; DROP TABLE ticks"}),
        ("lock_table", {"table": 'a"b'}),
        ("slow_statements", {"table": "ticks"}),
        ("slow_statements", {"table": "ticks", "delay": "11s"}),
        ("slow_statements", {"table": "ticks", "delay": "49ms"}),
    ],
)
def test_what_a_server_would_misunderstand_is_refused(name, params):
    with pytest.raises(ValidationError):
        FAULTS[name].params.model_validate(params)


def _bite(name, **params):
    fault = FAULTS[name]
    return fault.bite("redis", fault.params.model_validate(params))


def test_latency_is_proved_by_what_is_sure_of_it():
    (proof,) = _bite("latency", latency="400ms", jitter="100ms")
    assert (proof.source, proof.relation, proof.amount) == (Source.ROUND_TRIP_MS, Relation.RISES_BY, 300.0)


def test_latency_of_both_directions_adds_up():
    assert _bite("latency", latency="200ms", direction="both")[0].amount == 400.0


def test_latency_beyond_a_canarys_patience_is_proved_by_its_time_outs():
    assert _bite("latency", latency="1s")[0].words == ("timeout",)


def test_bandwidth_is_proved_in_each_direction():
    assert [(proof.stream, proof.amount) for proof in _bite("bandwidth", rate="1MB/s", direction="both")] == [
        ("upstream", 1000.0),
        ("downstream", 1000.0),
    ]


def test_only_a_fault_whose_undo_starts_a_process_says_so():
    assert {name for name, fault in FAULTS.items() if fault.starts} == {"restart", "kill"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_proof_by_a_gauge_is_of_one_that_the_fault_has_read(name):
    fault = FAULTS[name]
    params = fault.params.model_validate(GOOD[name])
    for on in fault.on:
        told = {title for gauges in fault.gauges(on, params) for title in gauges.titles}
        proofs = [*fault.bite(on, params), *fault.healed(on, params)]
        asked = {f"{proof.on}.{proof.gauge}" for proof in proofs if proof.source is Source.GAUGE}
        assert asked <= told


def test_what_cannot_be_undone_needs_a_stack_of_chaosds_own():
    irreversible = {name for name, fault in FAULTS.items() if fault.irreversible}
    assert irreversible == {name for name, fault in FAULTS.items() if fault.needs == "own"}
    assert "own" in EMBEDDED
    assert "own" not in COMPOSE.capabilities
    assert all("own" not in get_args(value) for value in get_args(StackSection.model_fields["capabilities"].annotation))


def test_forms_name_every_fault():
    assert {name: form.params for name, form in forms().items()} == {
        name: fault.params for name, fault in FAULTS.items()
    }
