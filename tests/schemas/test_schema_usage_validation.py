"""What is no misuse of a schema stays unsaid: enum machinery, guarded access, other objects of the same name."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from pipeline_bench import tick

import chaosd
from chaosd.envelope import wire
from chaosd.envelope.kinds import EventType, SignalType
from chaosd.envelope.model import EventEnvelope
from chaosd.preflight.check import run
from chaosd.target.reference import strategy
from chaosd.target.reference.contract import Tick, TickData, Unprocessable, read_tick


def test_the_reference_pipeline_uses_its_schema_rightly():
    """Its broken copies may be told of: some of what is wrong with them can be read."""
    found = run(Path(chaosd.__file__).parent / "target").findings
    assert [finding for finding in found if not finding.path.startswith("mutants/")] == []


def test_attributes_that_every_enum_has_are_no_members_and_no_findings(check):
    check(
        {
            "m.py": """
                from enum import Enum, StrEnum

                class Kind(StrEnum):
                    TICK = "tick"
                    _ignore_ = ["scratch"]

                    @classmethod
                    def parse(cls, text):
                        return cls(text)

                    @property
                    def short(self):
                        return self.value[0]

                    class Nested:
                        limit = 3

                def use(kind: Kind):
                    print(Kind.__members__, Kind.TICK.name, Kind.TICK.value, Kind._value2member_map_, Kind.__name__)
                    print(Kind.parse("tick"), Kind.mro(), Kind.Nested.limit, Kind.TICK.short, Kind("tick"))
                    print(Kind["TICK"])
                    print(kind.upper(), kind.value.upper(), Kind.upper("x"), Kind._missing_, Kind.__doc__)
                    kind.shorten()  # !missing-method
                """,
        }
    )


def test_guarded_and_patched_members_are_no_findings(check):
    check(
        {
            "m.py": """
                from enum import Enum

                class Kind(Enum):
                    TICK = 1

                def guarded():
                    if hasattr(Kind, "OLD"):
                        return Kind.OLD
                    try:
                        return Kind.NEW
                    except AttributeError:
                        return Kind.TICK

                Kind.PATCHED = 3
                print(Kind.PATCHED)
                """,
        }
    )


def test_name_that_means_something_else_here_is_no_enum(check):
    check(
        {
            "kinds.py": "from enum import Enum\n\nclass Kind(Enum):\n    TICK = 1\n",
            "use.py": """
                from kinds import Kind

                def shadowed(Kind):
                    return Kind.ANYTHING

                def rebound(load):
                    Kind = load()
                    return Kind.ANYTHING

                def nested():
                    class Kind:
                        ANYTHING = 1
                    return Kind.ANYTHING
                """,
            "either.py": """
                try:
                    from fast import Kind
                except ImportError:
                    from kinds import Kind

                print(Kind.ANYTHING)
                """,
        }
    )


def test_error_that_is_swallowed_is_found_all_the_same(check):
    check(
        {
            "m.py": """
                from enum import Enum

                class Kind(Enum):
                    TICK = 1

                def handle(log):
                    try:
                        return Kind.SYSTEM_ERROR  # !unknown-enum-member
                    except Exception:
                        log("failed")
                """,
        }
    )


class Record:
    """A record as far as the contract looks at it."""

    def __init__(self, value: bytes) -> None:
        self.value = value


def read(value: bytes) -> Tick:
    found = read_tick(Record(value))
    assert isinstance(found, Tick)
    return found


def test_both_forms_of_the_envelope_have_the_same_fields_in_the_same_order():
    assert list(EventEnvelope.model_fields) == [one.name for one in msgspec.structs.fields(wire.WireEnvelope)]


def test_every_field_that_the_pipelines_contract_reads_is_in_what_is_sent():
    sent = json.loads(tick("ACME").value)["data"]
    assert set(sent) == {one.name for one in msgspec.structs.fields(TickData)}


def test_what_the_pipeline_says_is_an_envelope_of_the_schema_with_a_signal_of_the_schema():
    for volume, signal in enumerate(("BUY", "SELL", "HOLD")):
        given = read(tick("ACME", volume=volume).value)
        said = EventEnvelope.model_validate_json(strategy.answer(given))
        assert said.type is EventType.VALIDATED_SIGNAL
        assert SignalType(said.data["signal"]) is SignalType(signal)
        assert set(said.data) == {"symbol", "price", "volume", "exchange_ts", "signal", "notional"}


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind is not EventType.MARKET_TICK])
def test_an_event_of_another_type_is_routed_to_the_dead_letters_and_not_taken_for_a_tick(kind):
    told = json.loads(tick("ACME").value)
    found = read_tick(Record(json.dumps({**told, "type": kind}).encode()))
    assert isinstance(found, Unprocessable)
    assert kind in found.message


@pytest.mark.parametrize("field", ["symbol", "price", "volume", "exchange_ts"])
def test_a_field_of_the_data_that_is_missing_is_named(field):
    told = json.loads(tick("ACME").value)
    del told["data"][field]
    found = read_tick(Record(json.dumps(told).encode()))
    assert isinstance(found, Unprocessable)
    assert field in found.message
