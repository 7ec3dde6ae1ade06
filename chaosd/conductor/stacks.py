"""Which stack a run asks for: chosen, checked against what the experiment needs and whom the operator allowed to touch.

All of it before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chaosd.conductor import operator
from chaosd.conductor.client import RunRequest
from chaosd.experiment import document
from chaosd.experiment.problems import one_error, validate
from chaosd.experiment.spec import Experiment
from chaosd.faults.servers import OWN
from chaosd.kernel import names
from chaosd.kernel.errors import SourceError, StackError, UsageError
from chaosd.stack.address import is_loopback
from chaosd.stack.providers.embedded import CAPABILITIES
from chaosd.stack.providers.external import COMPOSE
from chaosd.stack.providers.section import StackSection, places
from chaosd.testbed.record import Record
from chaosd.testbed.testbed import BROKERS, SECTION

EMBEDDED, EXTERNAL = "embedded", "external"
_KEY = "stack"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`extra` goes into the testbed's record, for whoever rebuilds or ends the testbed later."""

    provider: str
    capabilities: tuple[str, ...]
    extra: dict[str, Any] = field(default_factory=dict)


def wanted(request: RunRequest, brokers: int = 1) -> Wanted:
    """The stack of a request, with so many brokers: those of its file, or those that the experiment needs.

    Raises UsageError and SourceError for one that cannot be, or that nobody allowed.
    """
    found = _wanted(request)
    if brokers == 1:
        return found
    if found.provider != EMBEDDED:
        raise UsageError(
            f"the experiment needs {brokers} brokers, and the {found.provider} stack has one",
            remedy="use --stack embedded",
        )
    return replace(found, extra={**found.extra, BROKERS: brokers})


def _wanted(request: RunRequest) -> Wanted:
    if request.stack_file is None:
        if request.stack not in (EMBEDDED, EXTERNAL):
            raise UsageError(f"there is no stack {request.stack!r}", remedy=f"one of: {EMBEDDED}, {EXTERNAL}")
        return Wanted(request.stack, CAPABILITIES if request.stack == EMBEDDED else COMPOSE.capabilities)
    section = _read(request.stack_file)
    if section.provider == EMBEDDED:
        brokers = section.kafka.brokers if section.kafka is not None else 1
        return Wanted(EMBEDDED, CAPABILITIES, {BROKERS: brokers} if brokers > 1 else {})
    if section.provider != EXTERNAL:
        raise UsageError(
            f"{request.stack_file}: there is no provider {section.provider} yet",
            remedy="`docker compose -f docker-compose.chaos.yml up --wait`, then provider: external",
        )
    found = places(section, request.stack_file)
    if found is COMPOSE:
        return Wanted(EXTERNAL, found.capabilities)
    refuse_strangers(request.stack_file, section, (*request.allow_hosts, *operator.read().allow_hosts))
    return Wanted(EXTERNAL, found.capabilities, {SECTION: section.model_dump(mode="json")})


def refuse_strangers(file: str, section: StackSection, allowed: tuple[str, ...]) -> None:
    """Raise UsageError for a host that is not this machine unless the operator named it: a file is no consent."""
    for what, address in _addresses(section):
        host = address.rpartition(":")[0].strip("[]")
        if not is_loopback(host) and host not in allowed:
            raise UsageError(
                f"{file}: {what} is on {host}, which is not this machine; chaosd would break it there",
                remedy=f"if that is what you want: --allow-host {host}, or allow_hosts in {operator.place()}",
            )


def refuse_what_it_lacks(experiment: Experiment, capabilities: tuple[str, ...] | frozenset[str]) -> None:
    """Raise StackError for a fault that the stack cannot have."""
    for step in experiment.faults:
        if step.needs == OWN and OWN not in capabilities:
            raise StackError(
                f"{step.id}: {step.fault} on {step.on} cannot be undone; it is done only to a stack of chaosd's own",
                remedy="use --stack embedded",
            )
        if step.needs not in capabilities and names.kind(step.on) != "target":
            raise StackError(
                f"{step.id}: {step.fault} on {step.on} needs a stack that can {step.needs}; "
                f"this one can only {', '.join(sorted(capabilities))}",
                remedy="use --stack embedded, or an experiment of network faults only",
            )


def refuse_another(record: Record, asked: Wanted) -> None:
    """Raise UsageError when a kept testbed is of another kind than the run asks for."""
    same = record.provider == asked.provider and record.extra.get(SECTION) == asked.extra.get(SECTION)
    remedy = f"`chaosd stack down {record.name}`, or give another --testbed"
    if not same:
        raise UsageError(
            f"the testbed {record.name} is on another stack ({record.provider}) than this run asks for", remedy=remedy
        )
    has, needs = (int(extra.get(BROKERS, 1)) for extra in (record.extra, asked.extra))
    if has != needs:
        raise UsageError(
            f"the testbed {record.name} has {has} Kafka broker{'s' * (has > 1)}, and this run needs {needs}",
            remedy=remedy,
        )


def _read(path: str) -> StackSection:
    source = document.read(Path(path))
    raw = source.plain.get(_KEY) if isinstance(source.plain, dict) else None
    if raw is None:
        raise SourceError("there is no section `stack`", file=path, remedy="docs/external-stacks.md shows one")
    problems: list[SourceError] = []
    section = validate(source, StackSection, raw, (_KEY,), problems)
    if section is None:
        raise one_error(problems)
    return section


def _addresses(section: StackSection) -> Iterator[tuple[str, str]]:
    for name in ("kafka", "redis", "postgres"):
        server = getattr(section, name)
        for way in ("direct", "proxied", "upstream"):
            address = getattr(server, way)
            if address:
                yield f"{name}.{way}", address
    yield "toxiproxy", section.toxiproxy
