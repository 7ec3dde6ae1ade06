"""The parameters of faults: what is refused before it reaches Toxiproxy, and which proofs follow from them."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from pydantic import ValidationError

from chaosd.experiment import overlays
from chaosd.faults import network
from chaosd.faults.table import FAULTS, forms
from chaosd.journal.columns import Probe
from chaosd.kernel.proof import Relation, Source
from chaosd.stack.parts.toxiproxy.toxics import check
from chaosd.stack.providers.embedded import CAPABILITIES as EMBEDDED
from chaosd.stack.providers.external import COMPOSE
from chaosd.stack.providers.section import StackSection
from chaosd.testbed.canary import asked_by

GOOD = {
    "latency": {"latency": "400ms", "jitter": "100ms", "direction": "both"},
    "bandwidth": {"rate": {"from": "50KB/s", "to": "10KB/s"}},
    "slicer": {"size": "64B", "variation": "63B", "delay": "2ms"},
    "limit_data": {"bytes": "4KB", "direction": "both"},
    "slow_close": {"delay": "500ms"},
    "flap": {"down": "300ms", "up": "200ms"},
    "reset": {},
    "blackhole": {"direction": "upstream"},
    "mute": {"direction": "downstream"},
    "down": {},
    "restart": {},
    "rolling_restart": {},
    "kill": {},
    "pause": {},
    "client_kill": {"every": "250ms"},
    "maxmemory": {"headroom": "1MB"},
    "readonly_replica": {},
    "maxclients": {"leave": 1},
    "flush": {},
    "max_message_bytes": {"limit": "1KB", "topic": "dlq"},
    "quota": {"rate": "40KB/s", "of": "consumer"},
    "rebalance": {"every": "500ms", "members": 2},
    "topic_deleted": {"topic": "dlq"},
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
        ("bandwidth", {"rate": {"from": "50KB/s"}}),
        ("bandwidth", {"rate": {"from": "50KB/s", "to": "0KB/s"}}),
        ("latency", {"latency": {"from": "0ms", "to": "0ms"}}),
        ("latency", {"latency": {"from": "10ms", "to": "400ms"}, "jitter": "11ms"}),
        ("latency", {"latency": {"from": "10ms", "till": "400ms"}}),
        ("slicer", {"size": "64B", "variation": "64B", "delay": "2ms"}),
        ("slicer", {"size": "0B", "delay": "2ms"}),
        ("slicer", {"size": "64B", "delay": "0us"}),
        ("slicer", {"size": "64B", "delay": "1us"}),
        ("slicer", {"size": "1B", "delay": "1s"}),
        ("limit_data", {"bytes": "501KB"}),
        ("limit_data", {"bytes": "-1B"}),
        ("slow_close", {"delay": "0ms"}),
        ("flap", {"down": "300ms"}),
        ("flap", {"down": "300ms", "up": "49ms"}),
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


def test_a_ramp_is_proved_by_two_thirds_of_its_way_as_far_as_a_canary_can_see():
    ways = [({"from": "0ms", "to": "300ms"}, 200.0), ({"from": "400ms", "to": "100ms"}, -200.0)]
    for ramp, amount in (*ways, ({"from": "300ms", "to": "5s"}, 400.0)):
        (proof,) = _bite("latency", latency=ramp)
        assert (proof.relation, proof.amount) == (Relation.MOVES_BY, pytest.approx(amount))
    (proof,) = _bite("bandwidth", rate={"from": "10KB/s", "to": "50KB/s"})
    assert (proof.relation, proof.amount) == (Relation.AT_MOST, 50.0)


def test_a_slicer_is_proved_by_the_cap_that_follows_from_its_pieces():
    (proof,) = _bite("slicer", size="100B", variation="50B", delay="2ms")
    assert (proof.relation, proof.amount) == (Relation.AT_MOST, 75.0)


def test_a_late_end_is_proved_as_far_as_a_canary_waits():
    assert _bite("slow_close", delay="200ms", direction="both")[0].amount == 400.0
    assert _bite("slow_close", delay="5s")[0].amount == 900.0


def test_a_limit_is_proved_by_transfers_beyond_it():
    (proof,) = _bite("limit_data", bytes="4KB")
    (asked,) = asked_by(proof)
    assert asked.size_bytes == 6000


def test_a_delay_that_moves_asks_for_more_pings_and_one_that_stays_does_not():
    (moving,) = _bite("latency", latency={"from": "0ms", "to": "200ms"})
    assert [asked.probe for asked in asked_by(moving)] == [Probe.PING]
    (staying,) = _bite("latency", latency="200ms")
    assert asked_by(staying) == ()


def test_every_toxic_that_a_fault_wants_can_be_sent():
    """`check` refuses what would end the server."""
    for name in ("latency", "bandwidth", "slicer", "limit_data", "slow_close", "blackhole"):
        for toxic in getattr(network, f"_{name}")(FAULTS[name].params.model_validate(GOOD[name])):
            check(toxic.type, toxic.stream, toxic.attributes)


def test_only_a_fault_whose_undo_starts_a_process_says_so():
    assert {name for name, fault in FAULTS.items() if fault.starts} == {"restart", "rolling_restart", "kill"}


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
    broken = {name: fault.params for name, fault in FAULTS.items()}
    laid_over = {name: form.params for name, form in overlays.FORMS.items()}
    assert {name: form.params for name, form in forms().items()} == {**broken, **laid_over}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("max_message_bytes", {"limit": "99B"}),
        ("max_message_bytes", {"limit": "2MB"}),
        ("max_message_bytes", {"limit": "1KB", "topic": "inputs"}),
        ("topic_deleted", {"topic": "input"}),
        ("quota", {"rate": "1001KB/s"}),
        ("quota", {"rate": "40KB/s", "of": "target"}),
        ("rebalance", {"every": "50ms"}),
        ("rebalance", {"members": 0}),
    ],
)
def test_what_kafka_could_not_be_shown_to_do_is_refused(name, words):
    with pytest.raises(ValidationError):
        FAULTS[name].params.model_validate(words)


def test_a_quota_is_proved_for_each_kind_of_client_that_it_holds():
    fault = FAULTS["quota"]
    both = fault.params.model_validate({"rate": "40KB/s"})
    assert [proof.gauge.split("_")[0] for proof in fault.bite("kafka", both)] == ["producer", "consumer"]
    told = {title for gauges in fault.gauges("kafka", both) for title in gauges.titles}
    assert {f"kafka.{proof.gauge}" for proof in fault.bite("kafka", both)} == told


@pytest.mark.parametrize("name", ["restart", "kill", "pause"])
def test_the_other_brokers_tell_of_one_that_is_hit_and_nobody_of_all_of_them(name):
    fault, params = FAULTS[name], FAULTS[name].params()
    assert [gauges.titles for gauges in fault.gauges("kafka/2", params)] == [("kafka/2.leads", "kafka/2.out_of_sync")]
    assert fault.gauges("kafka", params) == fault.gauges("redis", params) == ()
    healed = {proof.gauge: proof.relation for proof in fault.healed("kafka/2", params)}
    assert healed["out_of_sync"] is Relation.AT_MOST
    bite = {proof.gauge for proof in fault.bite("kafka/2", params)}
    assert ("leads" in bite) is (name != "pause")
    assert all(proof.source is not Source.GAUGE for proof in fault.bite("kafka", params))
