"""Experiment files: what is written becomes numbers, and what is wrong is told with its place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment_files import FAULTS, REPEATED, STEP, Late, file, parse, refused

from chaosd.experiment import document
from chaosd.experiment.parse import expand, find, load, name_of
from chaosd.experiment.schema import experiment_schema
from chaosd.experiment.spec import Expect, Recovery
from chaosd.experiment.timeline import lasts_ns
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.errors import SourceError, UsageError


def test_a_full_file_becomes_numbers_in_plain_units():
    made = parse(
        file(
            "{at: 0.5s, for: 4s, fault: latency, on: redis, latency: 400ms}",
            """
            description: >
              two
              lines
            tags: [a, b]
            traffic: {rate: 600/m, streams: 2, poison: {not_json: 1%, oversized: 0.5%}}
            phases: {warmup: 1s, baseline: 40s, hold: 6s}
            expect:
              recovery: {within: 3s, from: inject, threshold: 200ms}
              loss: not_judged
              duplicates: none
              order: any
              system_errors: allowed_during_faults
              latency: {p99_outside_faults: 500ms}
            known: {verdict: FAIL, classes: [LOST], why: because}
            """,
        )
    )
    assert (made.description, made.tags, made.target) == ("two lines", ("a", "b"), "reference")
    assert (made.traffic.rate_hz, made.traffic.streams) == (10.0, 2)
    assert made.traffic.poison == (("not_json", 0.01), ("oversized", 0.005))
    assert (made.phases.warmup_ns, made.phases.baseline_ns, made.phases.hold_ns) == (SECOND, 40 * SECOND, 6 * SECOND)
    step = made.timeline[0]
    assert (step.id, step.at_ns, step.for_ns, step.needs) == ("1-latency-redis", 500 * MS, 4 * SECOND, "proxy")
    assert step.params == Late(latency="400ms")
    assert made.expect == Expect(
        Recovery(3 * SECOND, "inject", 200 * MS), "not_judged", "none", "any", "allowed_during_faults", 500 * MS
    )
    assert made.known is not None
    assert (made.known.verdict, made.known.classes) == ("FAIL", ("LOST",))


def test_a_short_file_has_the_defaults_of_the_definitions():
    made = parse(file())
    assert made.expect == Expect()
    assert (made.traffic.rate_hz, made.traffic.streams, made.traffic.poison) == (500.0, 4, ())
    assert (made.phases.baseline_ns, made.phases.hold_ns, made.notes) == (6 * SECOND, 5 * SECOND, ())


def test_a_share_of_poison_is_spread_over_all_kinds():
    traffic = parse(file(more="traffic: {poison: 3%}")).traffic
    assert [share for _, share in traffic.poison] == pytest.approx([0.005] * 6)
    assert traffic.poison_share == pytest.approx(0.03)


def test_no_poison_at_all_can_be_said():
    assert parse(file(more="traffic: {poison: 0%}")).traffic.poison == ()


def test_on_is_a_word_and_not_true():
    assert parse(file()).timeline[0].on == "redis"


def test_steps_are_sorted_by_time_and_numbered():
    made = parse(file(STEP.replace("0s", "9s", 1) + "\n" + STEP + "\n{at: 1s, for: 1s, fault: kill, on: target}"))
    assert [step.id for step in made.timeline] == ["1-down-redis", "2-kill-target", "3-down-redis"]
    assert lasts_ns(made.timeline) == 13 * SECOND


def test_a_process_that_is_started_at_once_needs_no_duration():
    assert parse(file("{at: 0s, fault: restart, on: kafka}")).timeline[0].for_ns == 0


def test_a_baseline_that_is_too_short_is_lengthened_and_said_so():
    made = parse(file(more="traffic: {rate: 300/s}\nphases: {baseline: 2s}"))
    assert made.phases.baseline_ns == 6_700 * MS
    assert "lengthened from 2s to 6.7s" in made.notes[0]


def test_at_low_rates_thirty_seconds_are_enough():
    assert parse(file(more="traffic: {rate: 10/s}")).phases.baseline_ns == 30 * SECOND


def test_a_long_enough_baseline_is_left_alone():
    made = parse(file(more="phases: {baseline: 8s}"))
    assert (made.phases.baseline_ns, made.notes) == (8 * SECOND, ())


def test_a_short_hold_is_kept_and_said():
    made = parse(file(more="phases: {hold: 1s}"))
    assert (made.phases.hold_ns, len(made.notes)) == (SECOND, 1)


def test_the_quick_profile_is_short_and_says_so():
    made = parse(file(), profile="quick")
    assert (made.phases.baseline_ns, made.phases.hold_ns) == (3 * SECOND, 2 * SECOND)
    assert "shorter than the definitions" in made.notes[0]


def test_the_quick_profile_is_never_longer_than_the_file_asks_for():
    made = parse(file(more="phases: {warmup: 10s, baseline: 1s}"), profile="quick").phases
    assert (made.warmup_ns, made.baseline_ns, made.hold_ns) == (2 * SECOND, SECOND, 2 * SECOND)


def test_expectations_survive_the_journal():
    expect = parse(file(more="expect: {recovery: {within: 2s, from: inject}, order: any}")).expect
    assert Expect.from_json(expect.to_json()) == expect
    assert Expect.from_json({}) == Expect()


def test_the_resolved_experiment_is_json_with_its_defaults():
    told = parse(file("{at: 0s, for: 1s, fault: latency, on: redis, latency: 5ms}")).to_json()
    assert told["timeline"][0]["params"] == {"latency": "5ms", "direction": "downstream"}
    assert told["expect"]["recovery"]["within_ns"] == 5 * SECOND


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (file(head="chaosd: 1\ntitel: t"), ("x.yaml:2:1", "titel", "did you mean 'title'?")),
        (file(head="chaosd: 1\ntitel: t"), ("x.yaml:1:1", "'title' is missing")),
        (file(head="chaosd: 2\ntitle: t"), ("x.yaml:1:1: chaosd", "expected one of 1", "found 2")),
        (file(head="title: t"), ("'chaosd' is missing",)),
        (file(more="traffic: {rate: 500}"), ("x.yaml:3:11: traffic.rate", "found 500", "a rate such as 500/s")),
        (file(more="traffic: {rate: 0/s}"), ("above 0/s",)),
        (file(more="traffic: {streams: 0}"), ("traffic.streams", "greater than or equal to 1")),
        (file(more='traffic: {streams: "4"}'), ("a whole number",)),
        (file(more="traffic: {poison: 120%}"), ("at most 100%",)),
        (file(more="traffic: {poison: {not_json: 60%, oversized: 60%}}"), ("add up to at most 100%",)),
        (file(more="traffic: {poison: {not_jsn: 1%}}"), ("traffic.poison.not_jsn", "did you mean 'not_json'?")),
        (file(more="traffic: {poison: 2}"), ("traffic.poison", "a share such as 2%")),
        (file(more="phases: {warmup: -1s}"), ("phases.warmup", "a duration such as")),
        (file(more="phases: {warmup: 2h}"), ("at most 3600s",)),
        (file(more="expect: {recovery: {from: heel}}"), ("expect.recovery.from", "did you mean 'heal'?")),
        (file(more="expect: {recovery: {within: 0s}}"), ("above 0s",)),
        (file(more="expect: {losses: none}"), ("expect.losses", "did you mean 'loss'?")),
        (file(more="expect: none"), ("expect", "a mapping of keys")),
        (file(more="known: {verdict: FAIL, classes: [LOTS]}"), ("known.classes[0]", "did you mean 'LOST'?")),
        (file(more="known: {verdict: PASS, classes: [LOST]}"), ("known.verdict",)),
        (file(more="known: {verdict: FAIL, classes: []}"), ("at least one",)),
        (file("{at: 0s, for: 4s, fault: don, on: redis}"), ("timeline[0].fault", "did you mean 'down'?")),
        (file("{at: 0s, for: 4s, fault: down, on: redi}"), ("x.yaml:5:36: timeline[0].on", "did you mean 'redis'?")),
        (file("{at: 0s, for: 4s, fault: down, on: target}"), ("cannot be done to this", "redis, kafka, postgres")),
        (file("{at: 0s, for: 4, fault: down, on: redis}"), ("timeline[0].for", "found 4", "between")),
        (
            file("{at: {between: [5s, 2s]}, for: 4s, fault: down, on: redis}"),
            ("timeline[0].at", "a shorter to a longer"),
        ),
        (file("{at: {betwen: [1s, 2s]}, for: 4s, fault: down, on: redis}"), ("timeline[0].at", "{between: [0s, 10s]}")),
        (file("{at: {between: [1s]}, for: 4s, fault: down, on: redis}"), ("timeline[0].at", "{between: [0s, 10s]}")),
        (file("{at: 0s, for: {between: [0s, 1s]}, fault: down, on: redis}"), ("nothing would happen",)),
        (file("{at: 3599s, for: 2s, fault: down, on: redis}"), ("too late", "3600s")),
        (file(REPEATED.format("every: 2s")), ("x.yaml:5:36: timeline[0].repeat", "how often is not said")),
        (file(REPEATED.format("every: 2s, times: 3, until: 9s")), ("how often is said twice",)),
        (
            file(REPEATED.format("every: 1s, times: 3")),
            ("repeat.every", "before the one before it has ended", "than 1s"),
        ),
        (file(REPEATED.format("every: {between: [1s, 3s]}, times: 3")), ("before the one before it has ended",)),
        (file(REPEATED.format("every: 2s, times: 1")), ("repeat.times", "greater than or equal to 2")),
        (file(REPEATED.format("every: 2s, until: 300s")), ("repeat.until", "at most 100 times")),
        (file(REPEATED.format("evry: 2s, times: 3")), ("repeat.evry", "did you mean 'every'?")),
        (file(REPEATED.format("times: 3")), ("'every' is missing",)),
        (file("{for: 4s, fault: down, on: redis}"), ("'at' is missing",)),
        (file("{at: 0s, fault: down, on: redis}"), ("x.yaml:5:5: timeline[0]", "`for` is missing")),
        (file("{at: 0s, for: 0s, fault: pause, on: redis}"), ("nothing would happen",)),
        (file("{at: 0s, for: 1s, fault: down, on: redis, rate: 5}"), ("timeline[0].rate", "unknown key")),
        (file("{at: 0s, for: 1s, fault: latency, on: redis}"), ("'latency' is missing",)),
        (file("{at: 0s, for: 1s, fault: latency, on: redis, latency: 5}"), ("text such as 400ms",)),
        (file("{at: 0s, for: 1s, fault: latency, on: redis, latency: 5 bananas}"), ("a duration such as",)),
        (file("{at: 0s, for: 1s, fault: latency, on: redis, latncy: 5ms}"), ("did you mean 'latency'?",)),
        (file("{at: 0s, fr: 1s, fault: latency, on: redis, latency: 5ms}"), ("timeline[0].fr", "unknown key")),
        (file("just text"), ("timeline[0]", "a mapping of keys")),
        (file(head="chaosd: 1\ntitle: t", timeline="").replace("[]", "down"), ("timeline", "a list")),
    ],
)
def test_what_is_wrong_is_told_with_place_and_remedy(text, words):
    message = refused(text)
    assert all(word in message for word in words), message


def test_all_problems_of_a_file_are_told_at_once_in_their_order():
    lines = refused(
        file("{at: 0s, for: 4s, fault: don, on: redis}", "traffic: {rate: 5}\nexpect: {los: none}")
    ).splitlines()
    assert [line.split(":")[1] for line in lines] == ["3", "4", "6"]


def test_an_unknown_target_is_refused_where_targets_are_known():
    assert "did you mean 'reference'?" in refused(file(more="target: referense"), targets=("reference", "auto_commit"))
    assert parse(file(more="target: reference"), targets=("reference",)).target == "reference"


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2", "- 1", "", "{: : :}", "a: \x00"])
def test_what_is_no_yaml_mapping_is_refused_with_the_file_named(text):
    with pytest.raises(SourceError, match=r"x\.yaml"):
        document.parse(text, "x.yaml")


def test_yaml_cannot_make_objects():
    made = parse(file(more='tags: !!python/object/apply:os.system ["true"]'))
    assert made.tags == ("true",)


def test_a_file_that_is_not_there_and_one_that_is_no_text_are_told(tmp_path: Path):
    with pytest.raises(UsageError, match="there is no file"):
        load(str(tmp_path / "none.yaml"), FAULTS)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="UTF-8"):
        load(str(tmp_path / "bytes.yaml"), FAULTS)


def test_a_giant_file_is_not_even_read(tmp_path: Path):
    (tmp_path / "giant.yaml").write_text("#" * 1_000_001)
    with pytest.raises(UsageError, match="larger than"):
        load(str(tmp_path / "giant.yaml"), FAULTS)


def test_names_are_those_of_files():
    assert [name_of(Path(name)) for name in ("a/redis.yaml", "b.chaos.yaml", "c.yml")] == ["redis", "b", "c"]


def test_a_pattern_stands_for_bundled_names():
    assert expand("control") == ["control"]
    assert "redis-flush" in expand("faults/*")
    assert "control" not in expand("faults/*")
    assert {"redis-flush", "redis-latency"} <= set(expand("redis-*"))
    assert find("faults/redis-flush") == find("redis-flush")
    for wrong in ("lab/redis-flush", "faults/control"):
        with pytest.raises(UsageError, match="there is no experiment"):
            find(wrong)
    with pytest.raises(UsageError, match="no bundled experiment is like"):
        expand("nothing-*")


def test_an_unknown_name_or_profile_names_the_nearest():
    with pytest.raises(UsageError, match="redis-latency"):
        load("redis-latncy", FAULTS)
    with pytest.raises(UsageError) as caught:
        load("control", FAULTS, profile="quik")
    assert "quick" in caught.value.remedy


CLUSTER = "stack: {kafka: {brokers: 3}}"


def test_a_cluster_can_be_hit_as_a_whole_or_one_broker_of_it():
    made = parse(file("{at: 0s, fault: kill, on: kafka/2}\n{at: 9s, for: 1s, fault: down, on: kafka}", CLUSTER))
    assert made.brokers == 3
    assert [(step.id, step.on) for step in made.timeline] == [("1-kill-kafka-2", "kafka/2"), ("2-down-kafka", "kafka")]
    assert made.to_json()["stack"] == {"kafka": {"brokers": 3}}


@pytest.mark.parametrize(
    ("step", "more", "words"),
    [
        ("{at: 0s, fault: kill, on: kafka/1}", "", ["x.yaml:5:", "kafka/1", "did you mean 'kafka'"]),
        (
            "{at: 0s, fault: kill, on: kafka/4}",
            CLUSTER,
            ["x.yaml:5:", "kafka/1, kafka/2, kafka/3", "did you mean 'kafka/"],
        ),
        ("{at: 0s, for: 1s, fault: quota, on: kafka/1}", CLUSTER, ["x.yaml:5:", "did you mean 'kafka'"]),
        (STEP, "stack: {kafka: {brokers: 2}}", ["x.yaml:3:", "brokers", "one of 1, 3"]),
        ("{at: 0s, fault: kill, on: redis, replica: 0}", "", ["x.yaml:5:", "redis has no replicas", "`on: target`"]),
        ("{at: 0s, fault: kill, on: target, replica: 2}", "replicas: 2", ["x.yaml:5:", "has 2 replicas", "0 to 1"]),
        ("{at: 0s, fault: kill, on: target, replica: 1}", "", ["x.yaml:5:", "has 1 replica;", "`replicas`"]),
    ],
)
def test_a_broker_or_replica_that_is_not_there_is_told_with_its_line(step, more, words):
    message = refused(file(step, more))
    for word in words:
        assert word in message, message


def test_a_replica_is_one_of_several_and_the_only_one_is_the_target():
    step = "{at: 0s, fault: kill, on: target, replica: 0}"
    assert parse(file(step, "replicas: 2")).timeline[0].on == "target/0"
    assert parse(file("{at: 0s, fault: kill, on: target}", "replicas: 2")).timeline[0].on == "target"
    assert parse(file(step)).timeline[0].on == "target"


def test_two_faults_of_one_process_clash_whichever_name_they_are_given():
    steps = "{at: 0s, for: 4s, fault: kill, on: kafka}\n{at: 1s, for: 1s, fault: pause, on: kafka/1}"
    assert "two faults of one process" in refused(file(steps, CLUSTER))
    apart = "{at: 0s, for: 4s, fault: kill, on: kafka/2}\n{at: 1s, for: 1s, fault: pause, on: kafka/1}"
    assert len(parse(file(apart, CLUSTER)).timeline) == 2


def test_the_schema_offers_brokers_where_one_can_be_hit_and_replicas_of_the_target():
    steps = {
        step["title"]: step["properties"]
        for step in experiment_schema(FAULTS)["properties"]["timeline"]["items"]["oneOf"]
    }
    assert "kafka/3" in steps["kill"]["on"]["anyOf"][0]["enum"]
    assert "kafka/3" not in steps["quota"]["on"]["enum"]
    assert "replica" in steps["kill"]
    assert "replica" not in steps["down"]
