"""A pipeline of somebody's own, as its target file says: services, topics, contract, and when it is ready and done."""

from __future__ import annotations

from dataclasses import dataclass

from chaosd.experiment.contract import Contract

TARGET = "target"


@dataclass(frozen=True, slots=True)
class Ready:
    """How a process shows that it serves; each is a template or empty, and all that are there must hold.

    `log`: this text in its log. `tcp`: HOST:PORT takes connections. `http`: a URL answers with 2xx. `group`: this
    consumer group is Stable and has members.
    """

    log: str = ""
    tcp: str = ""
    http: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """`command` and `env` are templates (target/places.py). `restart_ns`: it is started again so long after it ended
    by itself; None: never.
    """

    name: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    replicas: int = 1
    ready: Ready = Ready()
    restart_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic. `group` is the consumer group that reads it: of inputs and of internal topics."""

    name: str
    role: str
    partitions: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`folder` is the target file's, and where its processes run; `digest` tells two target files apart.

    `quiet_ns`: nothing has come out for so long when it is done; None: its groups alone tell. `source`: what
    the preflight reads, or "".
    """

    name: str
    file: str
    folder: str
    digest: str
    services: tuple[Service, ...]
    channels: tuple[Channel, ...]
    contract: Contract
    fifo: bool = False
    max_idle_ns: int = 0
    quiet_ns: int | None = None
    source: str = ""

    @property
    def inputs(self) -> tuple[Channel, ...]:
        """The input topics, as the contract numbers them."""
        return tuple(one for one in self.channels if one.role == "input")

    @property
    def internal(self) -> tuple[Channel, ...]:
        """The topics between its services."""
        return tuple(one for one in self.channels if one.role == "internal")

    @property
    def processes(self) -> tuple[tuple[str, Service, int], ...]:
        """Name, service and number within it of every process.

        The only one is `target`; else each is `target/SERVICE`, and `target/SERVICE/0` and on where a service has
        several.
        """
        each = [(service, number) for service in self.services for number in range(service.replicas)]
        if len(each) == 1:
            return ((TARGET, *each[0]),)
        return tuple((_name(service, number), service, number) for service, number in each)

    def on(self, service: str) -> str:
        """The name of all processes of a service. Raises KeyError where there is no such service."""
        if service not in [one.name for one in self.services]:
            raise KeyError(service)
        return TARGET if len(self.services) == 1 else f"{TARGET}/{service}"


def _name(service: Service, number: int) -> str:
    whole = f"{TARGET}/{service.name}"
    return whole if service.replicas == 1 else f"{whole}/{number}"
