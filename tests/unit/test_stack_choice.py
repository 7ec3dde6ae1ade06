"""Which stack a run gets: from the flags or a file, refused before anything starts when it cannot be or must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaosd.conductor import stacks
from chaosd.conductor.client import RunRequest
from chaosd.experiment.parse import load
from chaosd.faults.table import forms
from chaosd.kernel.errors import SourceError, StackError, UsageError
from chaosd.stack.providers.section import StackSection, parse, places
from chaosd.testbed.record import Record
from chaosd.testbed.testbed import BROKERS, SECTION


def file(folder: Path, redis: str = "127.0.0.1:6379", more: str = "") -> str:
    path = folder / "stack.yaml"
    path.write_text(
        f"""\
stack:
  provider: external
  redis: {{direct: "{redis}", proxied: "127.0.0.1:26379"}}
  kafka: {{direct: "127.0.0.1:19092", proxied: "127.0.0.1:29092", upstream: "127.0.0.1:9093"}}
  postgres: {{direct: "localhost:5432", proxied: "[::1]:25432"}}
{more}"""
    )
    return str(path)


def request(**changes: object) -> RunRequest:
    return RunRequest("redis-latency", **changes)  # type: ignore[arg-type]


def test_without_a_word_it_is_the_embedded_one_which_can_do_everything():
    found = stacks.wanted(request())
    assert found.provider == "embedded"
    assert set(found.capabilities) >= {"proxy", "restart"}


def test_external_without_a_file_is_the_compose_file_of_this_project():
    assert stacks.wanted(request(stack="external")) == stacks.Wanted("external", ("proxy",))


def test_a_file_says_where_the_servers_are_and_its_section_comes_back_from_the_record(tmp_path):
    found = stacks.wanted(request(stack_file=file(tmp_path)))
    assert (found.provider, found.capabilities) == ("external", ("proxy",))
    again = places(StackSection.model_validate(found.extra[SECTION]))
    assert str(again.direct.redis) == "127.0.0.1:6379"
    assert again.upstreams.kafka == "127.0.0.1:9093"


def test_the_documented_section_is_one(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "external-stacks.md"
    path = tmp_path / "stack.yaml"
    path.write_text(page.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0])
    found = stacks.wanted(request(stack_file=str(path)))
    assert found.extra[SECTION]["kafka"]["upstream"] == "127.0.0.1:9093"


@pytest.mark.parametrize(
    ("text", "needed", "extra"), [("brokers: 3", 1, {BROKERS: 3}), ("", 3, {BROKERS: 3}), ("", 1, {})]
)
def test_a_file_may_ask_for_a_cluster_of_an_embedded_stack(tmp_path, text, needed, extra):
    path = tmp_path / "stack.yaml"
    path.write_text(f"stack: {{provider: embedded, kafka: {{{text}}}}}\n")
    assert stacks.wanted(request(stack_file=str(path)), needed).extra == extra


@pytest.mark.parametrize(
    ("provider", "brokers", "words"), [("external", 3, "names all three"), ("embedded", 5, "one of 1, 3")]
)
def test_a_cluster_that_cannot_be_is_refused(tmp_path, provider, brokers, words):
    path = tmp_path / "stack.yaml"
    path.write_text(f"stack: {{provider: {provider}, kafka: {{brokers: {brokers}}}}}\n")
    with pytest.raises((SourceError, UsageError), match=words):
        stacks.wanted(request(stack_file=str(path)))


@pytest.mark.parametrize("host", ["10.0.0.5", "redis.example"])
def test_a_host_that_is_not_this_machine_needs_the_operators_word(tmp_path, host):
    given = file(tmp_path, redis=f"{host}:6379")
    with pytest.raises(UsageError, match=r"redis\.direct is on") as caught:
        stacks.wanted(request(stack_file=given))
    assert f"--allow-host {host}, or allow_hosts in " in caught.value.remedy
    with pytest.raises(UsageError):
        stacks.wanted(request(stack_file=given, allow_hosts=("another.example",)))
    assert stacks.wanted(request(stack_file=given, allow_hosts=(host,))).provider == "external"


def test_a_toxiproxy_elsewhere_needs_the_operators_word_too(tmp_path):
    with pytest.raises(UsageError, match="toxiproxy is on"):
        stacks.wanted(request(stack_file=file(tmp_path, more='  toxiproxy: "192.0.2.1:8474"\n')))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("target: {}\n", "there is no section `stack`"),
        ("stack: {provider: externl}\n", "did you mean 'external'"),
        ("stack: {provider: external, redis: {direct: nowhere, proxied: 127.0.0.1:1}}\n", "host:port"),
        ("stack: {provider: external, redis: {direct: 127.0.0.1:1, proxied: 127.0.0.1:2}}\n", "names all three"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(tmp_path, text, words):
    path = tmp_path / "stack.yaml"
    path.write_text(text)
    with pytest.raises(SourceError, match=words) as caught:
        stacks.wanted(request(stack_file=str(path)))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("stack", ["docker", "embeded"])
def test_a_stack_that_does_not_exist_is_refused(stack):
    with pytest.raises(UsageError, match=stack):
        stacks.wanted(request(stack=stack))


def experiment(folder: Path, step: str) -> object:
    path = folder / "one.yaml"
    path.write_text(f"chaosd: 1\ntitle: one\ntimeline:\n  - {{at: 0s, for: 2s, {step}}}\n")
    return load(str(path), forms())


@pytest.mark.parametrize("step", ["fault: restart, on: redis", "fault: pause, on: kafka", "fault: kill, on: postgres"])
def test_what_a_stack_of_others_cannot_have_is_refused_with_the_remedy(tmp_path, step):
    given = experiment(tmp_path, step)
    with pytest.raises(StackError, match="can only proxy") as caught:
        stacks.refuse_what_it_lacks(given, ("proxy",))
    assert "--stack embedded" in caught.value.remedy
    stacks.refuse_what_it_lacks(given, stacks.wanted(request()).capabilities)


def test_what_cannot_be_undone_is_done_to_a_stack_of_chaosds_own_only(tmp_path):
    given = experiment(tmp_path, "fault: flush, on: redis")
    with pytest.raises(StackError, match="flush on redis cannot be undone") as caught:
        stacks.refuse_what_it_lacks(given, ("proxy", "restart", "kill", "admin"))
    assert caught.value.remedy == "use --stack embedded"
    stacks.refuse_what_it_lacks(given, stacks.wanted(request()).capabilities)


def test_postgres_of_others_has_its_own_administrator():
    servers = {name: {"direct": "127.0.0.1:1", "proxied": "127.0.0.1:2"} for name in ("redis", "kafka", "postgres")}
    plain = places(parse({"provider": "external", **servers}, "x.yaml"))
    assert plain.direct.postgres.user == plain.proxied.postgres.user == "pipeline"
    servers["postgres"]["admin"] = {"user": "root", "password": "secret"}
    told = places(parse({"provider": "external", "capabilities": ["proxy", "admin"], **servers}, "x.yaml"))
    assert (told.direct.postgres.user, told.proxied.postgres.user) == ("root", "pipeline")
    assert told.capabilities == ("proxy", "admin")


@pytest.mark.parametrize("step", ["fault: latency, on: redis, latency: 50ms", "fault: kill, on: target"])
def test_network_faults_and_faults_of_the_target_need_nothing_more(tmp_path, step):
    stacks.refuse_what_it_lacks(experiment(tmp_path, step), ("proxy",))


def test_a_kept_testbed_serves_only_runs_that_ask_for_its_stack(tmp_path):
    outside = stacks.wanted(request(stack_file=file(tmp_path)))
    kept = Record(name="kept", marker="m", provider="external", kept=True, extra=dict(outside.extra))
    stacks.refuse_another(kept, outside)
    for other in (stacks.wanted(request()), stacks.wanted(request(stack="external"))):
        with pytest.raises(UsageError, match="another stack"):
            stacks.refuse_another(kept, other)


def test_a_cluster_is_had_from_the_embedded_stack_alone(tmp_path):
    assert stacks.wanted(request(), 3).extra == {BROKERS: 3}
    assert stacks.wanted(request(), 1).extra == {}
    with pytest.raises(UsageError, match="needs 3 brokers, and the external stack has one"):
        stacks.wanted(request(stack="external"), 3)


@pytest.mark.parametrize(
    ("has", "needs", "words"), [(1, 3, "1 Kafka broker, and this"), (3, 1, "3 Kafka brokers, and")]
)
def test_a_kept_testbed_of_another_number_of_brokers_is_not_used(has, needs, words):
    kept = Record("bed", "m", "embedded", kept=True, extra={BROKERS: has} if has > 1 else {})
    stacks.refuse_another(kept, stacks.wanted(request(), has))
    with pytest.raises(UsageError, match=words) as caught:
        stacks.refuse_another(kept, stacks.wanted(request(), needs))
    assert "chaosd stack down bed" in caught.value.remedy
