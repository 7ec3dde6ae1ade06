"""`chaosd init`: writes first files into somebody's project. Nothing that is there is touched."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where each file of a suite comes from (what travels with chaosd), and where it goes.
_SUITE = {
    "examples/pytest/chaos/redis-late.chaos.yaml": "chaos/redis-late.chaos.yaml",
    "examples/pytest/chaos/test_chaos_parts.py": "chaos/test_chaos_parts.py",
}
_CI = {
    "github": {"examples/ci/github-actions.yml": ".github/workflows/chaos.yml"},
    "gitlab": {"examples/ci/gitlab-ci.yml": ".gitlab-ci.yml"},
    "none": {},
}
REQUIREMENTS = "requirements-chaos.txt"
TARGET = "chaosd.yaml"
_EXPERIMENT = "chaos/killed.chaos.yaml"
_SECOND = "chaos/kafka-late.chaos.yaml"
_VALUE = '{"id": "${id}", "key": "${key}", "amount": "${amount}", "time": "${time}"}'


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked about a pipeline, in this order; all as people write it. `group` and `dlq` may be empty."""

    command: str
    input: str
    value: str
    output: str
    identity: str
    group: str
    dlq: str
    kafka: str
    ci: str


_QUESTIONS = {
    "command": "How is your pipeline started?",
    "input": "Which topic does it read?",
    "value": "What is a record there? ${id} must be in it",
    "output": "Which topic does it write?",
    "identity": "Where does a result carry the id of its input?",
    "group": "Which consumer group does it read with? (none)",
    "dlq": "Its dead letter topic? (none)",
    "kafka": "Which variable of its environment has Kafka's address?",
    "ci": f"A job for CI: {', '.join(_CI)}?",
}


def init(
    folder: Annotated[Path, typer.Argument(help="the project")] = Path(),
    pytest: Annotated[bool, typer.Option("--pytest", help="a suite for pytest: an experiment, tests on parts")] = False,
    command: Annotated[str, typer.Option(help="your pipeline: how it is started; writes a target file")] = "",
    input_: Annotated[str, typer.Option("--input", help="with --command: the topic it reads")] = "input",
    output: Annotated[str, typer.Option(help="with --command: the topic it writes")] = "output",
    group: Annotated[str, typer.Option(help="with --command: its consumer group")] = "",
    identity: Annotated[str, typer.Option("--id", help="where a result carries the id of its input")] = "$.id",
    dlq: Annotated[str, typer.Option(help="with --command: its dead letter topic, if any")] = "",
    value: Annotated[str, typer.Option(help="with --command: a record that it reads, with ${id} in it")] = _VALUE,
    kafka: Annotated[str, typer.Option("--kafka-env", help="its variable with Kafka's address")] = "KAFKA_BOOTSTRAP",
    ci: Annotated[str, typer.Option(help="github, gitlab or none")] = "none",
) -> None:
    """Write first files into a project; on a terminal, and told nothing, ask for what must be known.

    Exit 2 when one of them is there already; nothing is written then.
    """
    from chaosd.kernel.errors import UsageError

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", remedy="make it, or name another")
    answers = Answers(command, input_, value, output, identity, group, dlq, kafka, ci)
    if not pytest and not command:
        if not sys.stdin.isatty():
            remedy = "chaosd init --pytest writes a suite for pytest, chaosd init --command '…' files for your pipeline"
            raise UsageError("there is nothing to write", remedy=remedy)
        answers = _asked(replace(answers, command="python worker.py"))
    if wrong := _no_ci(answers.ci):
        raise UsageError(f"there is no CI {answers.ci!r}", remedy=wrong)
    files = dict(_contents(answers.ci, suite=pytest))
    if answers.command:
        files[TARGET] = _target(answers)
        files[_EXPERIMENT], files[_SECOND] = _KILLED, _LATE
        _check(files[TARGET], folder)
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise UsageError(f"already there: {', '.join(there)}", remedy="move them away, or choose another folder")
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            print(f"wrote {folder / name}")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}", remedy="choose another folder") from error
    run = "python -m pytest chaos -v" if pytest else f"chaosd run {folder / _EXPERIMENT}"
    print(f"next: chaosd stack install, then {run}")


def _asked(known: Answers) -> Answers:
    """Ask one thing after the other; what is known already is what Enter stands for."""
    print("Nothing is written before the last answer; Enter takes what stands in brackets.")
    told: dict[str, str] = {}
    for one in fields(known):
        default = getattr(known, one.name)
        while True:
            said = str(typer.prompt(_QUESTIONS[one.name], default=default, show_default=bool(default))).strip()
            wrong = _no_ci(said) if one.name == "ci" else ""
            if not wrong:
                break
            print(wrong)
        told[one.name] = said
    return Answers(**told)


def _no_ci(name: str) -> str:
    """What to say of a CI that there is not; empty for one that there is."""
    from chaosd.kernel.errors import nearest

    if name in _CI:
        return ""
    near = nearest(name, _CI)
    return f"did you mean {near!r}?" if near else f"one of: {', '.join(_CI)}"


def _contents(ci: str, *, suite: bool) -> Iterator[tuple[str, str]]:
    from chaosd import __version__
    from chaosd.kernel.bundled import bundled

    for source, name in {**(_SUITE if suite else {}), **_CI[ci]}.items():
        yield name, bundled(source).read_text(encoding="utf-8")
    yield REQUIREMENTS, f"chaosd[embedded]=={__version__}\n"


def _check(text: str, folder: Path) -> None:
    """Raises SourceError where what was asked for makes no target file: nothing is written then."""
    from chaosd.experiment import document, target_file

    target_file.resolve(document.parse(text, TARGET), folder / TARGET)


def _target(told: Answers) -> str:
    import json
    import shlex

    from chaosd.kernel.errors import UsageError

    try:
        words = shlex.split(told.command)
    except ValueError as error:
        raise UsageError(f"--command is no list of words: {error}", remedy="quote it once, for the shell") from error
    dlq = json.dumps(told.dlq)
    letters = f"    dlq: {{name: {dlq}, dialect: kafka-connect}}   # or chaosd, spring, …\n" if told.dlq else ""
    progress = "" if told.group else "  progress: {quiet: 5s}             # or a consumer group: topics.input.group\n"
    reads = f"      group: {json.dumps(told.group)}\n" if told.group else ""
    return _FILE.format(
        command=json.dumps(words),
        input=json.dumps(told.input),
        output=json.dumps(told.output),
        value=json.dumps(told.value) if "'" in told.value else f"'{told.value}'",
        kafka=json.dumps(told.kafka),
        group=reads,
        letters=letters,
        progress=progress,
        id=json.dumps(told.identity),
    )


_FILE = """\
# What chaosd must know of your pipeline: docs/targets.md. `chaosd check {{file}}` tells mistakes.
chaosd: 1
target:
  name: pipeline
  command: {command}
  env:                                # the servers' addresses, through the proxies: every fault hits them
    {kafka}: "${{kafka}}"
    REDIS_URL: "${{redis.url}}"
    DATABASE_URL: "${{postgres.dsn}}"
  topics:
    input:
      name: {input}
{group}      value: {value}
    output:
      - name: {output}
        key: "${{key}}"                 # or any
        fields: {{}}                    # $.total: "${{amount}}" — what must stand where
{letters}  envelope: {{id: {id}}}
{progress}""".replace("{{file}}", TARGET)

_KILLED = """\
chaosd: 1
title: The pipeline is killed in the middle of its work
target: ../chaosd.yaml
traffic: {rate: 200/s}
timeline:
  - {at: 0s, for: 1s, fault: kill, on: target}
expect:
  recovery: {within: 10s}
"""

_LATE = """\
chaosd: 1
title: Kafka answers late for a while
target: ../chaosd.yaml
traffic: {rate: 200/s}
timeline:
  - {at: 0s, for: 3s, fault: latency, on: kafka, latency: 200ms}
expect:
  recovery: {within: 10s}
"""
