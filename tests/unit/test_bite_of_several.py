"""Faults on one of several brokers and on all of them: each is held against the evidence of the right ones."""

from __future__ import annotations

from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import STARTED_NS, injection

from chaosd.journal.columns import CANARIES, EXPOSURE, RESOURCES, Path, Probe, ProbeOutcome, State
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.verification.exposure import FaultVerdict, gather, judge_fault
from chaosd.verification.health import unhealthy

PARTS = ("redis", "postgres", "kafka/1", "kafka/2", "kafka/3")
PROCESSES = (*PARTS, "toxiproxy", "target/0", "target/1")
REFUSED = Proof(Source.OUTCOME, "kafka", Relation.ONE_OF, words=("refused",))
CALL_S, CLEAR_S = 20, 25  # as `injection` has them


def ns(at_s: float) -> int:
    return STARTED_NS + round(at_s * SECOND)


def probe(on: str, at_s: float, outcome: ProbeOutcome = ProbeOutcome.OK, path: Path = Path.PROXIED) -> tuple[int, ...]:
    return PARTS.index(on), path, Probe.CONNECT, ns(at_s), ns(at_s) + MS, outcome, 0


def sample(process: str, at_s: float, pid: int = 10, state: State = State.RUNNING) -> tuple[int, ...]:
    return ns(at_s), PROCESSES.index(process), pid, 1, state, 0, 0, 0


def sockets(on: str, at_s: float, proxied: int = 1, direct: int = 0) -> tuple[int, ...]:
    return ns(at_s), PARTS.index(on), proxied, direct


def judged(on, bite=(), healed=(), *, canaries=(), resources=(), exposure=(), others=()) -> FaultVerdict:
    one = injection(on=on, bite=bite, healed=healed)
    written = histories.history(plan=histories.segments(rate_hz=20), injections=(one, *others))
    written.facts(parts=PARTS, processes=PROCESSES)
    written.columns["canaries"] = np.array(list(canaries), CANARIES.dtype)
    written.columns["resources"] = np.array(list(resources), RESOURCES.dtype)
    written.columns["exposure"] = np.array(list(exposure), EXPOSURE.dtype)
    return judge_fault(written.run, gather(written), one)


def refused(*brokers: str) -> list[tuple[int, ...]]:
    return [probe(name, 22, ProbeOutcome.REFUSED) for name in brokers]


def test_a_fault_on_all_brokers_must_be_seen_on_each():
    assert judged("kafka", (REFUSED,), canaries=refused("kafka/1", "kafka/2", "kafka/3")).bite == "proved"
    assert judged("kafka", (REFUSED,), canaries=refused("kafka/1", "kafka/2")).bite == "missing"


def test_a_fault_on_one_broker_is_seen_on_that_one():
    proof = replace(REFUSED, on="kafka/2")
    assert judged("kafka/2", (proof,), canaries=refused("kafka/2")).bite == "proved"
    assert judged("kafka/2", (proof,), canaries=refused("kafka/1", "kafka/3")).bite == "missing"


def test_one_broker_that_is_not_well_again_is_a_heal_without_proof():
    proof = Proof(Source.OUTCOME, "kafka", Relation.NONE_OF, words=("refused",))
    well = [probe(name, 28) for name in PARTS[2:]]
    assert judged("kafka", (), (proof,), canaries=well).healed == "proved"
    seen = [*well, *refused("kafka/3"), probe("kafka/3", 28, ProbeOutcome.REFUSED)]
    assert judged("kafka", (), (proof,), canaries=seen).healed == "missing"


def test_the_kill_of_all_replicas_ends_each_of_them():
    proof = Proof(Source.PROCESS_START, "target", Relation.CHANGED)
    before = [sample("target/0", 19), sample("target/1", 19)]
    first, second = sample("target/0", 26, pid=20), sample("target/1", 26, pid=21)
    assert judged("target", (proof,), resources=[*before, first, second]).bite == "proved"
    assert judged("target", (proof,), resources=[*before, first, sample("target/1", 26)]).bite == "missing"
    one = replace(proof, on="target/0")
    assert judged("target/0", (one,), resources=[*before, first]).bite == "proved"
    assert judged("target/0", (one,), resources=[*before, second]).bite == "missing"


def test_a_fault_on_a_broker_meets_a_target_that_uses_that_broker():
    around = [sockets("kafka/2", 15), sockets("kafka/2", 21)]
    assert judged("kafka/2", exposure=around).exposed == "proved"
    assert judged("kafka/1", exposure=[*around, sockets("kafka/1", 15, 0)]).exposed == "missing"
    assert judged("kafka", exposure=around).exposed == "proved"
    assert judged("kafka/2", exposure=[*around, sockets("kafka/2", 21, 1, 1)]).bypass


def test_a_later_fault_on_another_broker_is_on_another_way():
    proof = Proof(Source.OUTCOME, "kafka/1", Relation.NONE_OF, words=("refused",))
    late = [probe("kafka/1", 28), probe("kafka/1", 31, ProbeOutcome.REFUSED)]
    for on, healed in (("kafka/2", "missing"), ("kafka/1", "proved"), ("kafka", "proved")):
        other = injection("other", on=on, call_ns=ns(30), clear_low_ns=ns(33), clear_high_ns=ns(33))
        assert judged("kafka/1", (), (proof,), canaries=late, others=(other,)).healed == healed


@pytest.mark.parametrize(("on", "well"), [("kafka/1", True), ("kafka", True), ("kafka/2", False)])
def test_only_a_broker_that_is_not_faulted_can_be_an_unhealthy_stack(on, well):
    written = histories.history(plan=histories.segments(rate_hz=20), injections=(injection(on=on),))
    written.facts(parts=PARTS, processes=PROCESSES)
    bad = [probe("kafka/1", at, ProbeOutcome.REFUSED, Path.DIRECT) for at in (21, 22, 23)]
    assert (not unhealthy(written.run, np.array(bad, CANARIES.dtype))) is well


def test_a_journal_of_one_broker_is_read_as_before():
    """What was written when `kafka/1` could be said of the only broker."""
    one = injection(on="kafka/1", bite=(replace(REFUSED, on="kafka/1"),))
    written = histories.history(plan=histories.segments(rate_hz=20), injections=(one,))
    kafka = histories.PARTS.index("kafka")
    row = (kafka, Path.PROXIED, Probe.CONNECT, ns(22), ns(22) + MS, ProbeOutcome.REFUSED, 0)
    written.columns["canaries"] = np.array([row], CANARIES.dtype)
    assert judge_fault(written.run, gather(written), one).bite == "proved"
