"""How the processes of a target file are started: their commands and environments, filled in."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chaosd.experiment.target import Pipeline, Service
from chaosd.experiment.templates import fill, places
from chaosd.kernel import names
from chaosd.kernel.errors import UsageError
from chaosd.process import spawn
from chaosd.stack import fetch
from chaosd.stack.handle import Addresses

# What any program needs of its starter's environment; everything else would make runs differ.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
_ENV = "env."
_JARS = "kafka.jars"


@dataclass(frozen=True, slots=True)
class Process:
    """`ready` is what target/ready.py waits for, filled in."""

    name: str
    recipe: spawn.Recipe
    ready: dict[str, str]
    restart_ns: int | None


def processes(pipeline: Pipeline, proxied: Addresses, directory: Path) -> list[Process]:
    """Every process of a pipeline; `directory` is where their logs go.

    They are told the PROXIED addresses only, so every fault hits them. Raises UsageError for an unknown program.
    """
    return [
        _process(pipeline, service, number, name, proxied, directory) for name, service, number in pipeline.processes
    ]


def written(pipeline: Pipeline, planned: Sequence[Process]) -> str:
    """A digest of size and time of the files that its commands name, and of its source: another one, another program.

    What a program loads besides is not known.
    """
    files = {Path(one.recipe.cwd, word) for one in planned for word in one.recipe.argv}
    if pipeline.source:
        source = Path(pipeline.folder, pipeline.source)
        files |= {source, *source.rglob("*.py")}
    told = []
    for file in sorted(files):
        with suppress(OSError, ValueError):  # no file: an option, a host, the text of a script
            state = file.stat()
            if stat.S_ISREG(state.st_mode):
                told.append(f"{file} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _process(
    pipeline: Pipeline, service: Service, number: int, name: str, proxied: Addresses, directory: Path
) -> Process:
    known = {**_addresses(proxied), "python": sys.executable, "folder": pipeline.folder}
    known |= {"service": service.name, "replica": str(number)}
    env = {one: os.environ[one] for one in _INHERITED if one in os.environ}
    env |= {one: _filled(text, known) for one, text in service.env}
    env |= {spawn.PART: f"{pipeline.name}-{names.plain(name)}", "PYTHONUNBUFFERED": "1"}
    argv = tuple(_filled(text, known) for text in service.command)
    ready = service.ready
    told = {"log": ready.log, "tcp": ready.tcp, "http": ready.http, "group": ready.group}
    if not any(told.values()) and len(pipeline.services) == 1:
        told["group"] = "\n".join(dict.fromkeys(one.group for one in pipeline.inputs))
    return Process(
        name,
        spawn.Recipe(
            argv=(_program(argv[0], pipeline.folder, env), *argv[1:]),
            env=env,
            cwd=pipeline.folder,
            log=str(directory / f"{names.plain(name)}.log"),
        ),
        {key: _filled(text, known) for key, text in told.items() if text},
        service.restart_ns,
    )


def _addresses(proxied: Addresses) -> dict[str, str]:
    postgres = proxied.postgres
    return {
        "kafka": proxied.bootstrap,
        "kafka.host": proxied.kafka.host,
        "kafka.port": str(proxied.kafka.port),
        _JARS: str(fetch.jars() / fetch.LIBRARY),
        "redis": str(proxied.redis),
        "redis.host": proxied.redis.host,
        "redis.port": str(proxied.redis.port),
        "redis.url": f"redis://{proxied.redis}/0",
        "postgres.dsn": postgres.dsn,
        "postgres.host": postgres.host,
        "postgres.port": str(postgres.port),
        "postgres.user": postgres.user,
        "postgres.password": postgres.password,
        "postgres.database": postgres.database,
    }


def _filled(text: str, known: Mapping[str, str]) -> str:
    """`${env.NAME}` is a variable of chaosd's own environment, empty where it has none.

    Raises UsageError where a place stands for what is not installed.
    """
    if _JARS in places(text) and not Path(known[_JARS]).is_dir():
        raise UsageError(f"there are no client jars in {known[_JARS]}", remedy="chaosd stack install")
    own = {name: os.environ.get(name.removeprefix(_ENV), "") for name in places(text) if name.startswith(_ENV)}
    return fill(text, {**known, **own})


def _program(given: str, folder: str, env: Mapping[str, str]) -> str:
    found = shutil.which(str(Path(folder) / given) if "/" in given else given, path=env.get("PATH"))
    if found is None:
        raise UsageError(f"there is no program {given!r}", remedy="a name that PATH has, a path, or ${python}")
    return found
