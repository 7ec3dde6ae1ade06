"""chaosd-daemon.yaml: what it becomes, and what is said about mistakes in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaosd.daemon.config import DaemonForm, find_schedule, load
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import SourceError, UsageError
from chaosd.stack.address import is_loopback

TOKEN = "0123456789abcdef"


def write(folder: Path, text: str) -> Path:
    path = folder / "chaosd-daemon.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str) -> str:
    with pytest.raises(SourceError) as caught:
        load(write(folder, text), {})
    return str(caught.value)


def test_what_is_left_out_has_its_default(tmp_path):
    config = load(write(tmp_path, "chaosd: 1\n"), {})
    assert (config.host, config.port, config.token) == ("127.0.0.1", 8765, "")
    assert (config.testbed, config.stack, config.profile) == ("daemon", "embedded", "standard")
    assert (config.runs_dir, config.keep_runs, config.schedules) == (tmp_path / "runs", 50, ())


def test_schedules_become_values(tmp_path):
    text = """\
chaosd: 1
schedules:
  - {experiment: redis-latency, every: 10m, seed: 7}
  - {experiment: redis-latency, name: nightly, cron: "30 2 * * mon-fri"}
"""
    first, second = load(write(tmp_path, text), {}).schedules
    assert (first.name, first.every_ns, first.cron, first.seed) == ("redis-latency", 600 * SECOND, "", 7)
    assert (second.name, second.every_ns, second.cron, second.seed) == ("nightly", None, "30 2 * * mon-fri", None)


def test_paths_are_relative_to_the_file_and_names_stay_names(tmp_path):
    entries = "".join(f"  - {{experiment: {name}, every: 1m}}\n" for name in ("mine.yaml", "control"))
    config = load(write(tmp_path, f"chaosd: 1\nruns_dir: kept\nschedules:\n{entries}"), {})
    assert config.runs_dir == tmp_path / "kept"
    assert [schedule.experiment for schedule in config.schedules] == [str(tmp_path / "mine.yaml"), "control"]


def test_unknown_key_is_told_with_its_line_and_the_nearest_name(tmp_path):
    told = mistakes(tmp_path, "chaosd: 1\nlistn: 127.0.0.1:1\n")
    assert "chaosd-daemon.yaml:2:1: listn: unknown key" in told
    assert "did you mean 'listen'?" in told


def test_all_mistakes_are_told_at_once(tmp_path):
    told = mistakes(tmp_path, "chaosd: 1\nprofile: quik\nkeep: {runs: 0}\n")
    assert "did you mean 'quick'?" in told
    assert "keep.runs" in told


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("{experiment: a}", "exactly one of `every` and `cron`"),
        ('{experiment: a, every: 1m, cron: "* * * * *"}', "exactly one of `every` and `cron`"),
        ("{experiment: a, every: 10}", "a duration such as"),
        ("{experiment: a, every: 10ms}", "a duration of at least 1s"),
        ('{experiment: a, cron: "* * * *"}', "five fields"),
        ('{experiment: a, cron: "61 * * * *"}', "as in a crontab"),
        ('{experiment: a, cron: "0 0 * * 1"}', "weekdays by name"),
        ("{every: 1m}", "'experiment' is missing"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(tmp_path, schedule, words):
    told = mistakes(tmp_path, f"chaosd: 1\nschedules:\n  - {schedule}\n")
    assert words in told
    assert "chaosd-daemon.yaml:3:" in told


def test_two_schedules_of_one_name_are_refused(tmp_path):
    entry = "  - {experiment: a, every: 1m}\n"
    assert "two schedules of one name" in mistakes(tmp_path, f"chaosd: 1\nschedules:\n{entry}{entry}")


@pytest.mark.parametrize("address", ["8765", "127.0.0.1:", "127.0.0.1:99999", ":80", "a:b"])
def test_an_address_without_host_or_port_is_refused(tmp_path, address):
    assert "host:port" in mistakes(tmp_path, f'chaosd: 1\nlisten: "{address}"\n')


@pytest.mark.parametrize("address", ["0.0.0.0:8765", "192.0.2.1:8765", "[::]:8765", "example.org:80"])
def test_beyond_this_machine_a_token_is_needed(tmp_path, address):
    path = write(tmp_path, f'chaosd: 1\nlisten: "{address}"\n')
    with pytest.raises(UsageError, match="everybody on the network") as caught:
        load(path, {})
    assert "CHAOSD_TOKEN" in caught.value.remedy
    assert load(path, {"CHAOSD_TOKEN": TOKEN}).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)


def test_token_comes_from_a_file_unless_the_environment_has_one(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    path = write(tmp_path, "chaosd: 1\ntoken_file: token\n")
    assert load(path, {}).token == TOKEN
    assert load(path, {"CHAOSD_TOKEN": "another-long-token"}).token == "another-long-token"


@pytest.mark.parametrize(("text", "words"), [("", "is empty"), ("short", "shorter than 16")])
def test_a_token_file_without_a_real_token_is_refused(tmp_path, text, words):
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        load(write(tmp_path, "chaosd: 1\ntoken_file: token\n"), {})


def test_a_token_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load(write(tmp_path, "chaosd: 1\ntoken_file: token\n"), {})


def test_json_schema_shows_every_as_the_text_that_people_write():
    every = DaemonForm.model_json_schema()["$defs"]["ScheduleForm"]["properties"]["every"]
    assert every["anyOf"][0]["type"] == "string"
    assert re.match(every["anyOf"][0]["pattern"], "10m")


def test_an_unknown_schedule_is_told_with_the_nearest(tmp_path):
    config = load(write(tmp_path, "chaosd: 1\nschedules:\n  - {experiment: control, every: 1m}\n"), {})
    assert find_schedule(config, "control").experiment == "control"
    with pytest.raises(UsageError, match="did you mean 'control'"):
        find_schedule(config, "contrl")
