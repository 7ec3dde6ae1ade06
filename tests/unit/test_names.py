"""A name may stand for one thing or for all of its kind."""

from __future__ import annotations

import pytest

from chaosd.kernel.names import kind, members, numbered, plain, touch

CLUSTER = ("redis", "kafka/1", "kafka/2", "toxiproxy")


@pytest.mark.parametrize(
    ("on", "found"),
    [("redis", ("redis",)), ("kafka", ("kafka/1", "kafka/2")), ("kafka/2", ("kafka/2",)), ("kafka/3", ()), ("x", ())],
)
def test_a_name_stands_for_itself_or_for_all_of_its_kind(on, found):
    assert members(CLUSTER, on) == found


def test_the_only_broker_has_no_number():
    assert members(("redis", "kafka"), "kafka") == ("kafka",)
    assert members(("redis", "kafka"), "kafka/1") == ()


@pytest.mark.parametrize(
    ("one", "other", "in_common"),
    [
        ("kafka", "kafka/1", True),
        ("kafka/1", "kafka", True),
        ("kafka/1", "kafka/1", True),
        ("kafka/1", "kafka/2", False),
        ("kafka", "redis", False),
    ],
)
def test_a_kind_and_one_of_its_things_have_that_one_in_common(one, other, in_common):
    assert touch(one, other) is in_common


def test_a_name_may_have_several_steps():
    several = ("target/a/0", "target/a/1", "target/ab")
    assert members(several, "target") == several
    assert members(several, "target/a") == several[:2]
    assert members(several, "target/a/1") == ("target/a/1",)
    assert touch("target/a", "target/a/1")
    assert touch("target/a/1", "target")
    assert not touch("target/a", "target/ab")


def test_names_are_counted_and_written_as_words():
    assert numbered("target", range(2)) == ("target/0", "target/1")
    assert plain("target/0") == "target-0"
    assert kind("kafka/12") == "kafka"
