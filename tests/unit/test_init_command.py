"""`chaosd init --pytest`: what it writes is a suite that can be collected and checked, without a network or a stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from on_a_terminal import told_on_a_terminal
from ruamel.yaml import YAML

from chaosd import __version__
from chaosd.cli.app import COMMANDS
from chaosd.cli.app import run as chaosd
from chaosd.experiment import target_file

ROOT = Path(__file__).resolve().parents[2]
CI_FILES = sorted((ROOT / "examples/ci").rglob("*.yml"))
SUITE = {"chaos/redis-late.chaos.yaml", "chaos/test_chaos_parts.py", "requirements-chaos.txt"}


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "further"),
    [
        ((), set()),
        (("--ci", "github"), {".github/workflows/chaos.yml"}),
        (("--ci", "gitlab"), {".gitlab-ci.yml"}),
    ],
)
def test_it_writes_a_suite_and_the_ci_that_was_asked_for(tmp_path, capsys, options, further):
    assert chaosd(["init", str(tmp_path), "--pytest", *options]) == 0
    assert written(tmp_path) == SUITE | further
    assert "next: chaosd stack install" in capsys.readouterr().out
    assert (tmp_path / "requirements-chaos.txt").read_text(encoding="utf-8") == f"chaosd[embedded]=={__version__}\n"


def test_nothing_that_is_there_is_touched_and_nothing_else_is_written_then(tmp_path, capsys):
    (tmp_path / "chaos").mkdir()
    (tmp_path / "chaos/redis-late.chaos.yaml").write_text("mine", encoding="utf-8")
    assert chaosd(["init", str(tmp_path), "--pytest"]) == 2
    assert "already there: chaos/redis-late.chaos.yaml" in capsys.readouterr().err
    assert written(tmp_path) == {"chaos/redis-late.chaos.yaml"}
    assert (tmp_path / "chaos/redis-late.chaos.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pytest", "--ci", "gitlap"], "did you mean 'gitlab'?"),
        (["no-such-folder", "--pytest"], "there is no folder no-such-folder"),
        ([], "chaosd init --pytest"),
    ],
)
def test_what_cannot_be_is_told_with_a_remedy(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert chaosd(["init", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert written(tmp_path) == set()


def test_the_written_suite_has_no_mistakes_and_is_collected(tmp_path, capsys):
    assert chaosd(["init", str(tmp_path), "--pytest"]) == 0
    assert chaosd(["check", str(tmp_path)]) == 0
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "chaos", "--collect-only", "-q", "--strict-markers", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "redis-late.chaos.yaml::redis-late::loss" in done.stdout
    assert "test_chaos_parts.py::test_a_counter_in_redis_whatever_the_client_decodes[text]" in done.stdout


@pytest.mark.parametrize("path", CI_FILES, ids=lambda path: path.name)
def test_ci_files_are_yaml_that_calls_what_there_is(path):
    text = path.read_text(encoding="utf-8")
    assert YAML(typ="safe").load(text)
    commands = set(re.findall(r"^\s*(?:- )?(?:run: )?(?:\[.*\] && )?chaosd (\w+)", text, re.MULTILINE))
    assert commands
    assert commands <= {command.name for command in COMMANDS}
    plugin = (ROOT / "chaosd/pytest_plugin/plugin.py").read_text(encoding="utf-8")
    assert all(f'"{option}"' in plugin for option in re.findall(r"--chaos-[a-z-]+", text))


def test_what_is_written_travels_in_the_wheel():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for folder in ("examples/pytest", "examples/ci"):
        assert f'"{folder}" = "chaosd/_bundled/{folder}"' in text


def test_flags_write_a_target_file_and_an_experiment_that_can_be_run(tmp_path, capsys):
    options = ["--command", "python -m worker", "--input", "orders", "--output", "bills", "--group", "billing"]
    assert chaosd(["init", str(tmp_path), *options, "--id", "$.order", "--dlq", "dead", "--ci", "github"]) == 0
    assert written(tmp_path) == {
        "chaosd.yaml",
        "chaos/kafka-late.chaos.yaml",
        "chaos/killed.chaos.yaml",
        "requirements-chaos.txt",
        ".github/workflows/chaos.yml",
    }
    assert chaosd(["check", str(tmp_path / "chaosd.yaml"), str(tmp_path / "chaos")]) == 0
    for name in ("killed", "kafka-late"):
        assert chaosd(["plan", str(tmp_path / f"chaos/{name}.chaos.yaml")]) == 0
    assert "next: chaosd stack install, then chaosd run" in capsys.readouterr().out


def test_without_a_group_the_target_file_says_when_it_is_done(tmp_path, capsys):
    assert chaosd(["init", str(tmp_path), "--command", "python worker.py"]) == 0
    assert "quiet: 5s" in (tmp_path / "chaosd.yaml").read_text(encoding="utf-8")
    assert chaosd(["check", str(tmp_path)]) == 0


def test_flags_that_make_no_target_file_write_nothing(tmp_path, capsys):
    assert chaosd(["init", str(tmp_path), "--command", "python worker.py", "--id", "order"]) == 2
    assert "target.envelope.id" in capsys.readouterr().err
    assert not written(tmp_path)


def test_on_a_terminal_it_asks_and_what_it_writes_can_be_run(tmp_path):
    answers = ("python loop.py", "orders", "", "bills", "$.of", "billing", "", "BROKERS", "gitlap", "gitlab")
    code, said = told_on_a_terminal(tmp_path, *answers)
    assert code == 0, said
    assert "did you mean 'gitlab'?" in said
    assert written(tmp_path) == {
        "chaosd.yaml", "chaos/kafka-late.chaos.yaml", "chaos/killed.chaos.yaml", "requirements-chaos.txt",
        ".gitlab-ci.yml",
    }  # fmt: skip
    assert chaosd(["check", str(tmp_path)]) == 0
    made = target_file.read(tmp_path / "chaosd.yaml")
    assert made.services[0].command == ("python", "loop.py")
    assert dict(made.services[0].env)["BROKERS"] == "${kafka}"
    assert [(one.name, one.group) for one in made.channels] == [("orders", "billing"), ("bills", "")]
    assert made.contract.id == "$.of"


def test_on_a_terminal_enter_takes_what_stands_in_brackets(tmp_path):
    code, said = told_on_a_terminal(tmp_path, *[""] * 9)
    assert code == 0, said
    assert chaosd(["check", str(tmp_path)]) == 0
    assert target_file.read(tmp_path / "chaosd.yaml").services[0].command == ("python", "worker.py")


@pytest.mark.parametrize("value", ['{"id": "${id}"}', "it's ${id}", '"${id}"', "a: ${id} # b"])
def test_a_record_of_any_shape_comes_through_the_file_as_it_was_said(tmp_path, value):
    assert chaosd(["init", str(tmp_path), "--command", "python worker.py", "--value", value]) == 0
    assert target_file.read(tmp_path / "chaosd.yaml").contract.inputs[0].value == value
