"""`chaosd init`: writes first files into somebody's project. Nothing that is there is touched."""

from __future__ import annotations

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


def init(
    folder: Annotated[Path, typer.Argument(help="the project")] = Path(),
    pytest: Annotated[bool, typer.Option("--pytest", help="a suite for pytest: an experiment, tests on parts")] = False,
    command: Annotated[str, typer.Option(help="your pipeline: how it is started; writes a target file")] = "",
    input_: Annotated[str, typer.Option("--input", help="with --command: the topic it reads")] = "input",
    output: Annotated[str, typer.Option(help="with --command: the topic it writes")] = "output",
    group: Annotated[str, typer.Option(help="with --command: its consumer group")] = "",
    identity: Annotated[str, typer.Option("--id", help="where a result carries the id of its input")] = "$.id",
    dlq: Annotated[str, typer.Option(help="with --command: its dead letter topic, if any")] = "",
    ci: Annotated[str, typer.Option(help="github, gitlab or none")] = "none",
) -> None:
    """Write first files into a project. Exit 2 when one of them is there already; nothing is written then."""
    from chaosd.kernel.errors import UsageError, nearest

    if not pytest and not command:
        remedy = "chaosd init --pytest writes a suite for pytest, chaosd init --command '…' files for your own pipeline"
        raise UsageError("there is nothing to write", remedy=remedy)
    if ci not in _CI:
        near = nearest(ci, _CI)
        remedy = f"did you mean {near!r}?" if near else f"one of: {', '.join(_CI)}"
        raise UsageError(f"there is no CI {ci!r}", remedy=remedy)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", remedy="make it, or name another")
    files = dict(_contents(ci, suite=pytest))
    if command:
        files[TARGET] = _target(command, input_, output, group, identity, dlq)
        files[_EXPERIMENT] = _FIRST
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


def _target(command: str, source: str, result: str, group: str, identity: str, dlq: str) -> str:
    import json
    import shlex

    from chaosd.kernel.errors import UsageError

    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--command is no list of words: {error}", remedy="quote it once, for the shell") from error
    letters = f"    dlq: {{name: {json.dumps(dlq)}, dialect: kafka-connect}}   # or chaosd, spring, …\n" if dlq else ""
    progress = "" if group else "  progress: {quiet: 5s}             # or a consumer group: topics.input.group\n"
    reads = f"      group: {json.dumps(group)}\n" if group else ""
    return _FILE.format(
        command=json.dumps(words),
        input=json.dumps(source),
        output=json.dumps(result),
        group=reads,
        letters=letters,
        progress=progress,
        id=json.dumps(identity),
    )


_FILE = """\
# What chaosd must know of your pipeline: docs/targets.md. `chaosd check {{file}}` tells mistakes.
chaosd: 1
target:
  name: pipeline
  command: {command}
  env:                                # the servers' addresses, through the proxies: every fault hits them
    KAFKA_BOOTSTRAP: "${{kafka}}"
    REDIS_URL: "${{redis.url}}"
    DATABASE_URL: "${{postgres.dsn}}"
  topics:
    input:
      name: {input}
{group}      value: '{{"id": "${{id}}", "key": "${{key}}", "amount": "${{amount}}", "time": "${{time}}"}}'
    output:
      - name: {output}
        key: "${{key}}"                 # or any
        fields: {{}}                    # $.total: "${{amount}}" — what must stand where
{letters}  envelope: {{id: {id}}}
{progress}""".replace("{{file}}", TARGET)

_FIRST = """\
chaosd: 1
title: The pipeline is killed in the middle of its work
target: ../chaosd.yaml
traffic: {rate: 200/s}
timeline:
  - {at: 0s, for: 1s, fault: kill, on: target}
expect:
  recovery: {within: 10s}
"""
