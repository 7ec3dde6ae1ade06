"""Reads a target file: YAML with positions → forms → a Pipeline. All problems of a file are told at once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from chaosd.experiment import document
from chaosd.experiment.contract import RECORD, Contract, Input, Letters, Result, Table
from chaosd.experiment.document import Document, Place
from chaosd.experiment.problems import one_error, validate
from chaosd.experiment.schema import schema_of
from chaosd.experiment.target import Channel, Pipeline, Ready, Service
from chaosd.experiment.target_written import InputForm, OutputForm, ServiceForm, TableForm, TargetFileForm, TargetForm
from chaosd.experiment.templates import fill, unknown
from chaosd.kernel.errors import SourceError

SUFFIXES = (".yaml", ".yml")
_EXAMPLE = {name: "1" if name in ("seq", "stream", "count", "time_ms") else "x" for name in RECORD}
_TOPICS = ("target", "topics")


def is_file(target: str) -> bool:
    """Whether a target is named by its file and not by the name of one of chaosd's own."""
    return target.endswith(SUFFIXES)


def read(path: Path) -> Pipeline:
    """Read a target file. Raises UsageError when it cannot be read, SourceError (a line each) for what is wrong."""
    return resolve(document.read(path), path)


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of target files."""
    return schema_of(TargetFileForm)


def resolve(source: Document, path: Path) -> Pipeline:
    """Make a pipeline of a document that stands at `path`. Raises SourceError with all its problems."""
    problems: list[SourceError] = []
    form = validate(source, TargetFileForm, source.plain, (), problems)
    if form is None:
        raise one_error(problems)
    reading = _Reading(source, path.resolve().parent, problems)
    pipeline = reading.pipeline(form.target, path)
    if problems:
        raise one_error(problems)
    return pipeline


class _Reading:
    """One file under work: what the forms alone cannot say."""

    def __init__(self, source: Document, folder: Path, problems: list[SourceError]) -> None:
        self._source = source
        self._folder = folder
        self._problems = problems

    def pipeline(self, form: TargetForm, path: Path) -> Pipeline:
        """The value; what is wrong is in the problems."""
        services = self._services(form)
        channels = self._channels(form)
        contract = self._contract(form)
        self._progress(form)
        self._ready(services)
        source = str(self._beside(form.source, ("target", "source"))) if form.source else ""
        made = Pipeline(
            name=form.name,
            file=str(path.resolve()),
            folder=str(self._folder),
            digest="",
            services=services,
            channels=channels,
            contract=contract,
            fifo=form.fifo,
            max_idle_ns=form.progress.max_idle,
            quiet_ns=form.progress.quiet,
            source=source,
        )
        return _with_digest(made)

    def _wrong(self, problem: str, where: Place, expected: str, found: str = "") -> None:
        self._problems.append(self._source.error(problem, where, expected=expected, found=found))

    def _services(self, form: TargetForm) -> tuple[Service, ...]:
        if form.command is not None:
            return (_service(form.name, ServiceForm(command=form.command), form.env),)
        return tuple(_service(name, one, form.env) for name, one in form.services.items())

    def _channels(self, form: TargetForm) -> tuple[Channel, ...]:
        topics = form.topics
        made = [Channel(one.name, "input", one.partitions, one.group) for one in topics.inputs]
        where: list[Place] = [(*self._input(number), "name") for number in range(len(topics.inputs))]
        for number, one in enumerate(topics.output):
            if any(other.name == one.name and other.role == "output" for other in made):
                self._shares(form, number)
                continue
            made.append(Channel(one.name, "output", one.partitions))
            where.append((*_TOPICS, "output", number, "name"))
        for number, inner in enumerate(topics.internal):
            made.append(Channel(inner.name, "internal", inner.partitions, inner.group))
            where.append((*_TOPICS, "internal", number, "name"))
        if topics.dlq is not None:
            made.append(Channel(topics.dlq.name, "dlq", topics.dlq.partitions))
            where.append((*_TOPICS, "dlq", "name"))
        for number, channel in enumerate(made):
            if channel.name in [other.name for other in made[:number]]:
                self._wrong("this topic is named twice", where[number], "a topic of its own", channel.name)
        return tuple(made)

    def _input(self, number: int) -> tuple[str | int, ...]:
        """Where an input stands: one alone may stand there without a list."""
        several = isinstance(self._source.plain["target"]["topics"]["input"], list)
        return (*_TOPICS, "input", number) if several else (*_TOPICS, "input")

    def _shares(self, form: TargetForm, number: int) -> None:
        """Results that share a topic are told apart by their types, or by the inputs that they are from."""
        inputs, outputs = {one.name for one in form.topics.inputs}, form.topics.output
        one = outputs[number]
        others = [other for other in outputs[:number] if other.name == one.name]
        where = (*_TOPICS, "output", number)
        own = set(_sources(one)) or inputs
        beside = [other for other in others if own & (set(_sources(other)) or inputs)]
        if beside and (not one.type or any(other.type in ("", one.type) for other in beside)):
            expected = "a `type` of its own for each of them" + (", or inputs (`from`)" if len(inputs) > 1 else "")
            self._wrong("two kinds of results on one topic", where, expected)
        if any(other.partitions != one.partitions for other in others):
            self._wrong("one topic with two numbers of partitions", (*where, "partitions"), "the same as above")

    def _contract(self, form: TargetForm) -> Contract:
        topics, envelope = form.topics, form.envelope
        typed = [number for number, one in enumerate(topics.output) if one.type]
        if typed and envelope.type is None and not envelope.python:
            where = (*_TOPICS, "output", typed[0], "type")
            self._wrong("nobody knows where types stand", where, "`envelope.type`: where a result carries its type")
        letters = None
        if topics.dlq is not None:
            dialect, types = topics.dlq.dialect, {name: str(one) for name, one in topics.dlq.error_types.items()}
            places = {str(part): place for part, place in dialect.items()} if isinstance(dialect, dict) else {}
            letters = Letters("" if isinstance(dialect, dict) else dialect, places, types)
            if isinstance(dialect, dict) and not dialect:
                self._wrong("it says nothing", (*_TOPICS, "dlq", "dialect"), "where at least one part stands")
        self._from(form)
        return Contract(
            inputs=[
                Input(one.name, self._value(one, number), one.partitions, one.key, dict(one.headers), one.share)
                for number, one in enumerate(topics.inputs)
            ],
            results=[
                Result(
                    one.name,
                    one.type,
                    one.count,
                    None if one.key == "any" else one.key,
                    dict(one.fields),
                    optional=one.min == 0,
                    sources=_sources(one),
                )
                for one in topics.output
            ],
            id=envelope.id,
            type=envelope.type or "",
            events=envelope.format == "cloudevents",
            python=self._python(envelope.python),
            letters=letters,
            tables=self._tables(form),
        )

    def _tables(self, form: TargetForm) -> list[Table]:
        for number, one in enumerate(form.tables):
            if one.name in [other.name for other in form.tables[:number]]:
                self._wrong("this table is named twice", ("target", "tables", number, "name"), "once", one.name)
        return [
            Table(one.name, one.key, dict(one.columns), one.count, one.min == 0, _sources(one)) for one in form.tables
        ]

    def _from(self, form: TargetForm) -> None:
        """Every kind of results is from inputs that there are, and every input owes something that is waited for."""
        names = [one.name for one in form.topics.inputs]
        places: list[tuple[OutputForm | TableForm, Place]] = [
            *((one, (*_TOPICS, "output", number, "from")) for number, one in enumerate(form.topics.output)),
            *((one, ("target", "tables", number, "from")) for number, one in enumerate(form.tables)),
        ]
        for one, where in places:
            for number, name in enumerate(_sources(one)):
                at = where if isinstance(one.from_, str) else (*where, number)
                if name not in names:
                    self._problems.append(self._source.unknown("there is no such input", at, name, names))
                if name in _sources(one)[:number]:
                    self._wrong("this input is named twice", at, "each input once", name)
        if len(names) == 1:
            return
        # Where nothing is waited for at all, loss is not judged, and the run says so; half of it would go unnoticed.
        kinds = [one for one, _ in places]
        waited = (
            [one for one in form.topics.output if one.min is None] if any(one.min is None for one in kinds) else kinds
        )
        for number, name in enumerate(names):
            if not any(name in (_sources(one) or names) for one in waited):
                expected = "a line of `topics.output` that it must give, without `min: 0`"
                self._wrong("nothing that is waited for comes of this input", self._input(number), expected, name)

    def _value(self, given: InputForm, number: int) -> str:
        where = self._input(number)
        if bool(given.value) == bool(given.template):
            self._wrong("what is sent is not clear", where, "either `value` or `template`")
            return ""
        text, at = given.value, (*where, "value")
        if given.template:
            at = (*where, "template")
            path = self._beside(given.template, at)
            try:
                text = path.read_text(encoding="utf-8") if path is not None else ""
            except (OSError, UnicodeDecodeError) as error:
                self._wrong("this file cannot be read", at, "a file of text in UTF-8", str(error))
                return ""
            wrong = unknown(text, tuple(RECORD))
            if wrong is not None:
                shown = ", ".join(f"${{{name}}}" for name in RECORD)
                self._wrong(f"the template has a place ${{{wrong[0]}}}", at, f"one of {shown}", wrong[1] or "")
                return ""
        carried = (text, *given.headers.values())
        if not any("${id}" in one for one in carried):
            self._wrong("nothing carries the identity", at, "${id} somewhere in the value or in a header")
        if text.lstrip().startswith(("{", "[")):
            try:
                json.loads(fill(text, _EXAMPLE))
            except ValueError as error:
                self._wrong("this is no JSON once it is filled in", at, "JSON", str(error))
        return text

    def _python(self, given: str) -> str:
        if not given:
            return ""
        file, _, function = given.rpartition(":")
        path = self._beside(file, ("target", "envelope", "python"))
        return f"{path}:{function}" if path is not None else ""

    def _beside(self, given: str, where: Place) -> Path | None:
        """A file or folder inside the target file's folder; None, and a problem, when it is not."""
        path = (self._folder / given).resolve()
        if not path.is_relative_to(self._folder):
            self._wrong("this lies outside of the target file's folder", where, f"something in {self._folder}", given)
            return None
        if not path.exists():
            self._wrong("there is no such file", where, f"something in {self._folder}", given)
            return None
        return path

    def _progress(self, form: TargetForm) -> None:
        inputs = form.topics.inputs
        for number, one in enumerate(inputs):
            if one.group:
                continue
            if form.progress.quiet is None:
                expected = "`topics.input.group`: the consumer group that commits; or without one `progress.quiet`"
                self._wrong("nobody knows when it is done", self._input(number), expected)
            elif any(other.group for other in inputs):
                expected = "a `group` for every input, or for none of them"
                self._wrong("another input has a group, this one has none", self._input(number), expected)

    def _ready(self, services: tuple[Service, ...]) -> None:
        groups = [one.group for one in self._groups]
        for one in services:
            if one.ready.group and one.ready.group not in groups:
                where = ("target", "services", one.name, "ready", "consumer_group")
                self._problems.append(
                    self._source.unknown("no topic is read by this group", where, one.ready.group, groups)
                )

    @property
    def _groups(self) -> list[Channel]:
        topics = self._source.plain["target"]["topics"]
        inputs = topics["input"] if isinstance(topics["input"], list) else [topics["input"]]
        told = [*inputs, *(topics.get("internal") or ())]
        return [Channel("", "", 0, str(one["group"])) for one in told if one.get("group")]


def _sources(form: OutputForm | TableForm) -> list[str]:
    """The inputs that must give it, as written: none are all of them."""
    return [form.from_] if isinstance(form.from_, str) else list(form.from_)


def _service(name: str, form: ServiceForm, env: dict[str, str]) -> Service:
    ready = Ready(form.ready.log, form.ready.tcp, form.ready.http, form.ready.consumer_group)
    restart_ns = None if form.restart == "never" else form.restart.after
    return Service(name, form.command, tuple({**env, **form.env}.items()), form.replicas, ready, restart_ns)


def _with_digest(made: Pipeline) -> Pipeline:
    told = msgspec.json.encode({name: getattr(made, name) for name in Pipeline.__slots__})
    return replace(made, digest=hashlib.sha256(told).hexdigest()[:16])
