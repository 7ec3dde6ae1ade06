"""Reads chaosd-daemon.yaml: forms of what people write, and the values they become. All problems are told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from chaosd.experiment import document
from chaosd.experiment.document import Document
from chaosd.experiment.problems import one_error, validate
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import SourceError, UsageError, nearest
from chaosd.kernel.units import parse_duration_ns
from chaosd.stack.address import is_loopback

FILE = "chaosd-daemon.yaml"
TOKEN_VARIABLE = "CHAOSD_TOKEN"  # noqa: S105 -- the name of a variable
_TOKEN_CHARS_MIN = 16
_EVERY_NS_MIN = SECOND
_CRON_FIELDS = 5
_WEEKDAY = 4
_DEFAULT_LISTEN = "127.0.0.1:8765"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When an experiment starts: every `every_ns`, or at the times of a five-field `cron` line (UTC)."""

    name: str
    experiment: str
    every_ns: int | None
    cron: str
    seed: int | None


@dataclass(frozen=True, slots=True)
class Config:
    """The daemon's configuration. Paths are absolute; `token` is empty when there is none."""

    host: str
    port: int
    token: str
    testbed: str
    stack: str
    profile: str
    runs_dir: Path
    keep_runs: int
    schedules: tuple[Schedule, ...]


def _every_ns(value: object) -> int:
    every_ns = parse_duration_ns(value)
    if every_ns < _EVERY_NS_MIN:
        raise ValueError("a duration of at least 1s")
    return every_ns


def _address(text: str) -> str:
    _host_and_port(text)
    return text


def _cron(text: str) -> str:
    fields = text.split()
    if len(fields) != _CRON_FIELDS:
        raise ValueError('five fields: minute hour day month weekday, such as "*/30 6-22 * * mon-fri"')
    # Crons disagree on what weekday 0 is, the scheduler's own reading included.
    if re.search(r"\d", fields[_WEEKDAY]):
        raise ValueError("weekdays by name (mon, tue, …): numbers mean different days in different crons")
    from apscheduler.triggers.cron import CronTrigger

    try:
        CronTrigger.from_crontab(text, timezone="UTC")
    except ValueError as error:
        raise ValueError(f"five fields as in a crontab ({error})") from error
    return text


_EVERY_TEXT = WithJsonSchema(
    {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h)$", "examples": ["90s", "10m", "6h"]}
)


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class KeepForm(_Form):
    """What stays on disk."""

    runs: int = Field(default=50, ge=1, le=100_000, description="how many run directories stay")


class ScheduleForm(_Form):
    """One schedule: exactly one of `every` and `cron`."""

    experiment: str = Field(min_length=1, description="the name of a bundled experiment, or a path")
    name: str = Field(default="", max_length=100)
    every: Annotated[int, BeforeValidator(_every_ns), _EVERY_TEXT] | None = None
    cron: Annotated[str, AfterValidator(_cron)] | None = None
    seed: int | None = Field(default=None, ge=0)


class DaemonForm(_Form):
    """The whole file."""

    chaosd: Literal[1] = Field(description="the version of the format: 1")
    listen: Annotated[str, AfterValidator(_address)] = _DEFAULT_LISTEN
    token_file: str | None = None
    testbed: str = Field(default="daemon", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", examples=["daemon"])
    stack: Literal["embedded", "external"] = "embedded"
    profile: Literal["standard", "quick"] = "standard"
    runs_dir: str = Field(default="runs", min_length=1)
    keep: KeepForm = KeepForm()
    schedules: list[ScheduleForm] = Field(default_factory=list, max_length=1_000)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the file. Paths in it are relative to its folder.

    Raises UsageError when it cannot be read or the daemon must not run like this, SourceError when it is wrong.
    """
    source = document.read(path)
    problems: list[SourceError] = []
    form = validate(source, DaemonForm, source.plain, (), problems)
    if form is None:
        raise one_error(problems)
    schedules = _schedules(source, form, path, problems)
    if problems:
        raise one_error(problems)
    host, port = _host_and_port(form.listen)
    config = Config(
        host=host,
        port=port,
        token=_token(form, path, environ),
        testbed=form.testbed,
        stack=form.stack,
        profile=form.profile,
        runs_dir=(path.parent / form.runs_dir).absolute(),
        keep_runs=form.keep.runs,
        schedules=schedules,
    )
    if not config.token and not is_loopback(host):
        raise UsageError(
            f"{path}: listening on {form.listen} would let everybody on the network start faults",
            remedy=f"set {TOKEN_VARIABLE} or token_file, or listen on {_DEFAULT_LISTEN}",
        )
    return config


def _schedules(source: Document, form: DaemonForm, path: Path, problems: list[SourceError]) -> tuple[Schedule, ...]:
    found: dict[str, Schedule] = {}
    for index, given in enumerate(form.schedules):
        where = ("schedules", index)
        name = given.name or given.experiment
        if name in found:
            problem = "two schedules of one name"
            problems.append(source.error(problem, where, expected="a `name` of its own for each", found=name))
        if (given.every is None) == (given.cron is None):
            wanted = "exactly one of `every` and `cron`"
            problems.append(source.error("a schedule needs to say when", where, expected=wanted))
        found[name] = Schedule(name, _experiment(given.experiment, path), given.every, given.cron or "", given.seed)
    return tuple(found.values())


def _experiment(given: str, path: Path) -> str:
    """A path is relative to the file that names it; a bundled experiment is named by its name."""
    beside = path.parent / given
    return str(beside.absolute()) if given.endswith((".yaml", ".yml")) or beside.is_file() else given


def _token(form: DaemonForm, path: Path, environ: Mapping[str, str]) -> str:
    token, origin = environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
    if not token and form.token_file is not None:
        origin = str(path.parent / form.token_file)
        try:
            token = Path(origin).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the token in {origin} cannot be read: {error}") from error
        if not token:
            raise UsageError(f"{origin} is empty", remedy="write the token into it, or leave token_file out")
    if token and len(token) < _TOKEN_CHARS_MIN:
        raise UsageError(
            f"the token in {origin} is shorter than {_TOKEN_CHARS_MIN} characters", remedy="openssl rand -hex 24"
        )
    return token


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"host:port, such as {_DEFAULT_LISTEN}")
    return host, int(port)


def find_schedule(config: Config, name: str) -> Schedule:
    """The schedule of this name. Raises UsageError naming the nearest."""
    for schedule in config.schedules:
        if schedule.name == name:
            return schedule
    names = [schedule.name for schedule in config.schedules]
    near = nearest(name, names)
    raise UsageError(
        f"there is no schedule {name!r}" + (f"; did you mean {near!r}?" if near else ""),
        remedy=f"configured: {', '.join(names)}" if names else "",
    )
