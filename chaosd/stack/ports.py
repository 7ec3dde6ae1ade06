"""Ports of this machine: which are free, who listens on one."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

from chaosd.kernel.errors import StackError
from chaosd.process.sockets import listening, taken_by

_LOWEST = 10_240
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortTaken(StackError):
    """Somebody else listens on a port that a part needs."""


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """The ports of one broker. `inner` is the listener behind its proxy, `proxied` the proxy's own. 0: a free one."""

    direct: int = 0
    proxied: int = 0
    inner: int = 0
    controller: int = 0


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port of an embedded stack, all on 127.0.0.1. 0 means: choose a free one.

    `redis`, `postgres` and `kafka` are the DIRECT ones. `kafka_inner` is the listener behind the proxy. Of a cluster
    these are the first broker's, and `more` are those of the others.
    """

    redis: int = 0
    postgres: int = 0
    kafka: int = 0
    kafka_inner: int = 0
    kafka_controller: int = 0
    toxiproxy: int = 0
    redis_proxied: int = 0
    postgres_proxied: int = 0
    kafka_proxied: int = 0
    more: tuple[BrokerPorts, ...] = ()

    @property
    def brokers(self) -> tuple[BrokerPorts, ...]:
        """The ports of every broker."""
        first = BrokerPorts(self.kafka, self.kafka_proxied, self.kafka_inner, self.kafka_controller)
        return (first, *self.more)

    def of_brokers(self, count: int) -> Ports:
        """The same for so many brokers; those that are not named get free ports."""
        others = count - 1
        return replace(self, more=(self.more + (BrokerPorts(),) * others)[:others])

    def chosen(self) -> Ports:
        """The same with a free port for each 0. Raises StackError when a fixed one is taken."""
        given = dict(self._given())
        for name, port in given.items():
            if port and (who := taken_by(port)):
                raise PortTaken(
                    f"port {port} ({name}) is in use by {who}", remedy=f"end it, or give {name} another port"
                )
        free = free_ports(sum(port == 0 for port in given.values()), set(given.values()))
        own = {field.name: given[field.name] or free.pop() for field in fields(self) if field.name in given}
        more = tuple(
            BrokerPorts(**{field.name: getattr(ports, field.name) or free.pop() for field in fields(ports)})
            for ports in self.more
        )
        return Ports(**own, more=more)

    def _given(self) -> Iterator[tuple[str, int]]:
        for field in fields(self):
            if field.name != "more":
                yield field.name, int(getattr(self, field.name))
        for number, ports in enumerate(self.more, 2):
            for field in fields(ports):
                yield f"kafka/{number} {field.name}", int(getattr(ports, field.name))


def _first_ephemeral() -> int:
    try:
        return int(_RANGE.read_text(encoding="ascii").split()[0])
    except OSError:
        return 32_768


def free_ports(count: int, avoid: set[int]) -> list[int]:
    """Ports that nobody listens on, all held open while choosing, so that no two are the same.

    They lie below the ephemeral range: while a part is down, no outgoing connection of this machine can be given its
    port (a client that keeps dialling a free port inside that range may even connect to itself).
    """
    top = _first_ephemeral()
    low = _LOWEST if top - _LOWEST > 1000 else 1024
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for _ in range(5000):
            if len(found) == count:
                return found
            port = low + secrets.randbelow(max(top - low, 1000))
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                if port not in avoid and port not in found and not listening(port):
                    found.append(port)
    raise StackError("no free ports were found on 127.0.0.1", remedy="end what uses so many")
