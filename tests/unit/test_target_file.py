"""Target files: what is written becomes a pipeline, and what is wrong is told with its place, all at once."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from chaosd.catalogue import catalogue
from chaosd.experiment import document, fitting, parse, target_file
from chaosd.experiment.target import Pipeline, Ready
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import SourceError, UsageError
from chaosd.stack import fetch
from chaosd.stack.handle import Address, Addresses, Postgres
from chaosd.target.pipeline import processes

INPUT = """{name: orders, group: bills, value: '{"id": "${id}"}'}"""
FILE = """\
chaosd: 1
target:
  name: bills
  command: ["${python}", worker.py]
  topics:
    input: %s
    output: [{name: bills}]
"""
EXPERIMENT = """\
chaosd: 1
title: one
target: chaosd.yaml
traffic: {rate: 10/s, poison: 2%%}
timeline: [%s]
"""


def read(folder: Path, text: str) -> Pipeline:
    path = folder / "chaosd.yaml"
    path.write_text(text)
    return target_file.read(path)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(SourceError) as caught:
        read(folder, text)
    return caught.value.message


def with_input(text: str) -> str:
    return FILE % text


def experiment(folder: Path, step: str = ""):
    path = folder / "one.chaos.yaml"
    path.write_text(EXPERIMENT % step)
    return parse.load(str(path), catalogue().forms, targets=("reference",))


def test_the_short_form_is_one_service_with_its_group(tmp_path):
    made = read(tmp_path, with_input(INPUT))
    assert [one.name for one in made.services] == ["bills"]
    assert [(one.name, one.role, one.group) for one in made.channels] == [
        ("orders", "input", "bills"),
        ("bills", "output", ""),
    ]
    assert [name for name, *_ in made.processes] == ["target"]


def test_services_give_one_process_for_each_replica(tmp_path):
    text = with_input(INPUT).replace(
        'command: ["${python}", worker.py]',
        "services: {a: {command: [a], replicas: 2, restart: {after: 1s}}, b: {command: [b], ready: {tcp: 'x:1'}}}",
    )
    made = read(tmp_path, text)
    assert [(name, one.name, number) for name, one, number in made.processes] == [
        ("target/a/0", "a", 0),
        ("target/a/1", "a", 1),
        ("target/b", "b", 0),
    ]
    assert made.services[0].restart_ns == SECOND
    assert made.services[1].ready == Ready(tcp="x:1")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  name: bills", "  nme: bills", "chaosd.yaml:3:3: target.nme: unknown key; found nme"),
        ("  name: bills", "  nme: bills", "did you mean 'name'"),
        ("${id}", "${idd}", "${idd} is none; did you mean ${id}?"),
        ("${id}", "x", "nothing carries the identity"),
        ('{"id": "${id}"}', '{"id": ${id}}', "this is no JSON once it is filled in"),
        ("group: bills, ", "", "nobody knows when it is done"),
        ("  topics:", "  tables: [{name: t, key: k}, {name: t, key: k}]\n  topics:", "this table is named twice"),
        ("  topics:", "  tables: [{name: 'a b', key: k}]\n  topics:", "target.tables"),
        ("output: [{name: bills}]", "output: [{name: bills, min: 1}]", "target.topics.output"),
        ("output: [{name: bills}]", "output: [{name: orders}]", "this topic is named twice"),
        ("output: [{name: bills}]", "output: [{name: b, type: x}]", "nobody knows where types stand"),
        ("output: [{name: bills}]", "output: [{name: b}, {name: b}]", "two kinds of results on one topic"),
        ("output: [{name: bills}]", "output: [{name: b, fields: {$.a..b: x}}]", "no step of a path that names one"),
        ('command: ["${python}", worker.py]', 'command: ["${pythn}"]', "did you mean ${python}?"),
        ('command: ["${python}", worker.py]', "command: python worker.py", "target.command: cannot be this"),
        ('  command: ["${python}", worker.py]\n', "", "one of `command`, `services` or `external: true`"),
        ("  topics:", "  source: ../x\n  topics:", "outside of the target file's folder"),
        ("  topics:", "  source: x\n  topics:", "there is no such file"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, old, new, expected):
    text = with_input(INPUT)
    assert old in text
    assert expected in refused(tmp_path, text.replace(old, new, 1))


def test_a_template_is_a_file_beside_the_target_file(tmp_path):
    (tmp_path / "order.json").write_text('{"id": "${id}"}')
    made = read(tmp_path, with_input("{name: orders, group: bills, template: order.json}"))
    assert made.contract.inputs[0].value == '{"id": "${id}"}'


def test_a_service_waits_for_a_group_that_some_topic_has(tmp_path):
    text = with_input(INPUT).replace(
        'command: ["${python}", worker.py]', "services: {a: {command: [a], ready: {consumer_group: bils}}}"
    )
    assert "did you mean 'bills'" in refused(tmp_path, text)


def test_an_experiment_names_a_target_file_from_its_own_folder(tmp_path):
    pipeline = read(tmp_path, with_input(INPUT))
    made = experiment(tmp_path)
    assert made.target == "bills"
    assert made.pipeline == pipeline
    assert made.traffic.poison == ()
    assert any("no dead letter topic" in note for note in made.notes)
    assert "not judged: the fields of bills: the target file has no rules for them" in made.notes


def test_where_every_result_is_optional_loss_is_not_judged(tmp_path):
    text = with_input(INPUT).replace("{name: bills}", "{name: bills, min: 0}")
    read(tmp_path, text)
    made = experiment(tmp_path)
    assert made.expect.loss == "not_judged"
    assert "not judged: loss: every result is optional" in made.notes
    read(tmp_path, text.replace("  topics:", "  tables: [{name: t, key: k}]\n  topics:"))
    made = experiment(tmp_path)
    assert made.expect.loss == "none"
    assert "not judged: the columns of t: the target file has no rules for them" in made.notes


def test_an_experiment_with_an_absent_target_file_is_told_where(tmp_path):
    with pytest.raises(SourceError, match=r"one\.chaos\.yaml:3:1: target: there is no such target file"):
        experiment(tmp_path)


def test_poison_is_of_the_kinds_that_every_contract_refuses(tmp_path):
    read(tmp_path, with_input(INPUT).replace("output: ", "dlq: {name: dead}\n    output: "))
    made = experiment(tmp_path)
    assert {kind for kind, _ in made.traffic.poison} == {"not_json", "wrong_encoding"}
    assert made.traffic.poison_share == pytest.approx(0.02)


def test_a_burst_of_poison_without_a_dead_letter_topic_is_refused(tmp_path):
    read(tmp_path, with_input(INPUT))
    with pytest.raises(UsageError, match="no dead letter topic"):
        experiment(tmp_path, "{at: 0s, for: 1s, fault: poison, share: 5%, kind: not_json}")


SERVICES = "services: {a: {command: [a], replicas: 2}, b: {command: [b]}}"


@pytest.mark.parametrize(
    ("on", "name"),
    [
        ("target", "target"),
        ("target.a", "target/a"),
        ("target.a, replica: 1", "target/a/1"),
        ("target.b", "target/b"),
        ("target, replica: 1", "target/a/1"),
        ("target, replica: 2", "target/b"),
    ],
)
def test_a_fault_is_on_all_processes_on_those_of_a_service_or_on_one(tmp_path, on, name):
    read(tmp_path, with_input(INPUT).replace('command: ["${python}", worker.py]', SERVICES))
    [step] = experiment(tmp_path, f"{{at: 0s, for: 1s, fault: kill, on: {on}}}").timeline
    assert step.on == name


@pytest.mark.parametrize(
    ("on", "told"),
    [
        ("target.bb", "the target has no such service"),
        ("target.bb", "did you mean 'target.b'"),
        ("target.a, replica: 2", "a has 2 replicas; found 2; expected 0 to 1"),
        ("target, replica: 3", "the target file says how many there are"),
    ],
)
def test_a_service_or_replica_that_is_not_there_is_told(tmp_path, on, told):
    read(tmp_path, with_input(INPUT).replace('command: ["${python}", worker.py]', SERVICES))
    with pytest.raises(SourceError) as caught:
        experiment(tmp_path, f"{{at: 0s, for: 1s, fault: kill, on: {on}}}")
    assert told in caught.value.message


def test_the_only_service_of_a_target_is_the_target(tmp_path):
    read(tmp_path, with_input(INPUT))
    assert experiment(tmp_path, "{at: 0s, for: 1s, fault: kill, on: target.bills}").timeline[0].on == "target"


def test_a_step_on_the_nth_replica_of_another_target_is_on_the_nth_process(tmp_path):
    pipeline = read(tmp_path, with_input(INPUT).replace('command: ["${python}", worker.py]', SERVICES))
    step = experiment(tmp_path, "{at: 0s, for: 1s, fault: kill, on: target}").timeline[0]
    other = replace(parse.load("redis-latency", catalogue().forms), timeline=(replace(step, on="target/2"),))
    assert fitting.fit(other, pipeline).timeline[0].on == "target/b"
    with pytest.raises(UsageError, match="has no target/3"):
        fitting.fit(replace(other, timeline=(replace(step, on="target/3"),)), pipeline)


def test_a_target_that_runs_already_cannot_be_killed(tmp_path):
    read(tmp_path, with_input(INPUT).replace('command: ["${python}", worker.py]', "external: true"))
    with pytest.raises(UsageError, match="it runs already"):
        experiment(tmp_path, "{at: 0s, for: 1s, fault: kill, on: target}")


def test_an_experiment_of_another_target_forgets_what_was_known_of_it(tmp_path):
    pipeline = read(tmp_path, with_input(INPUT))
    made = fitting.fit(parse.load("redis-latency", catalogue().forms), pipeline)
    assert (made.target, made.replicas, made.traffic.poison) == ("bills", 1, ())


def test_processes_are_told_the_proxied_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    text = with_input(INPUT).replace(
        "  topics:", '  env: {K: "${kafka}", R: "${redis.url}", B: "${env.BROKEN}", X: "${env.NOT_THERE}"}\n  topics:'
    )
    host = "127.0.0.1"
    proxied = Addresses(Address(host, 1), Address(host, 2), Postgres(host, 3, "u", "p", "d"))
    [made] = processes(read(tmp_path, text), proxied, tmp_path)
    told = {name: made.recipe.env[name] for name in "KRBX"}
    assert told == {"K": "127.0.0.1:2", "R": "redis://127.0.0.1:1/0", "B": "1", "X": ""}
    assert made.recipe.cwd == str(tmp_path)
    assert made.ready == {"group": "bills"}


def test_the_jars_of_kafkas_clients_are_where_the_stack_has_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_CACHE", str(tmp_path / "cache"))
    text = with_input(INPUT).replace('"${python}", worker.py', '"${python}", "${kafka.jars}/*"')
    host = "127.0.0.1"
    proxied = Addresses(Address(host, 1), Address(host, 2), Postgres(host, 3, "u", "p", "d"))
    with pytest.raises(UsageError, match="there are no client jars"):
        processes(read(tmp_path, text), proxied, tmp_path)
    library = fetch.jars() / fetch.LIBRARY
    library.mkdir(parents=True)
    [made] = processes(read(tmp_path, text), proxied, tmp_path)
    assert made.recipe.argv[1] == f"{tmp_path}/cache/{library.parent.name}/lib/*"


def test_a_program_that_is_not_there_is_told(tmp_path):
    text = with_input(INPUT).replace('"${python}"', "not-there-at-all")
    host = "127.0.0.1"
    proxied = Addresses(Address(host, 1), Address(host, 2), Postgres(host, 3, "u", "p", "d"))
    with pytest.raises(UsageError, match="there is no program 'not-there-at-all'"):
        processes(read(tmp_path, text), proxied, tmp_path)


def test_the_schema_knows_the_same_keys(tmp_path):
    made = target_file.schema()
    assert set(made["properties"]) == {"chaosd", "target"}
    assert "dialect" in made["$defs"]["DlqForm"]["properties"]


def test_the_java_example_compiles_against_the_stacks_own_jars(tmp_path):
    library = fetch.jars() / fetch.LIBRARY
    if shutil.which("javac") is None or not library.is_dir():
        pytest.skip("no javac, or no jars: the example needs a JDK and `chaosd stack install`")
    argv = [
        "javac",
        "-Xlint:all",
        "-proc:none",
        "-d",
        str(tmp_path),
        "-cp",
        f"{library}/*",
        "examples/java/Billing.java",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("Billing*.class"))


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*/chaosd.yaml")), ids=str)
def test_the_examples_can_be_run(path):
    target_file.resolve(document.read(path), path)
    for one in path.parent.glob("*.chaos.yaml"):
        made = parse.load(str(one), catalogue().forms)
        assert made.pipeline is not None
