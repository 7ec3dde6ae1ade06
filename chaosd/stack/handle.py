"""What is known about a stack, on disk: enough for any process to reach, stop, restart and adopt its parts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from chaosd.kernel import names
from chaosd.kernel.errors import StackError
from chaosd.process.spawn import Handle, Recipe
from chaosd.stack.address import Address

RECORD = "stack.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Postgres:
    """How to reach a PostgreSQL database."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def dsn(self) -> str:
        """The connection URL."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """One way to every part: DIRECT (chaosd's own instruments) or PROXIED (the pipeline under test).

    `kafka` is the first broker, `brokers` are all of a cluster (empty where there is one). `postgres` carries chaosd's
    superuser on the DIRECT side (it may use the reserved connections) and the pipeline's ordinary role on the PROXIED
    side.
    """

    redis: Address
    kafka: Address
    postgres: Postgres
    brokers: tuple[Address, ...] = ()

    @property
    def bootstrap(self) -> str:
        """Where Kafka's clients begin: all brokers, since any of them may be down."""
        return ",".join(map(str, self.brokers or (self.kafka,)))

    def of(self, part: str) -> Address:
        """Host and port of one part; `kafka` is the first broker. Raises KeyError for a name that has none."""
        database = Address(self.postgres.host, self.postgres.port)
        cluster = dict(zip(names.numbered("kafka", range(1, len(self.brokers) + 1)), self.brokers, strict=True))
        return {"redis": self.redis, "kafka": self.kafka, "postgres": database, **cluster}[part]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two ways to the parts."""

    direct: Addresses
    proxied: Addresses


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy of Toxiproxy: `host:port` it listens on, `host:port` it forwards to."""

    name: str
    part: str
    listen: str
    upstream: str


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part of a stack. `recipe` and `handle` are None for a part that chaosd did not start.

    `owns`: the ports its process must own; `port` is the one the readiness probe asks.
    """

    name: str
    version: str
    origin: str
    host: str
    port: int
    owns: tuple[int, ...] = ()
    recipe: Recipe | None = None
    handle: Handle | None = None

    @property
    def address(self) -> Address:
        """Where its own server answers, without a proxy."""
        return Address(self.host, self.port)


@dataclass(frozen=True, slots=True)
class StackRecord:
    """A whole stack. `capabilities`: what may be done to it (proxy, restart, kill, admin, own).

    `made`: proxies that chaosd makes on a Toxiproxy of others, and removes when it leaves.
    """

    provider: str
    marker: str
    parts: dict[str, PartRecord]
    proxies: tuple[Proxy, ...]
    endpoints: Endpoints
    capabilities: tuple[str, ...] = field(default=("proxy",))
    made: tuple[str, ...] = ()

    def with_handle(self, part: str, handle: Handle | None) -> StackRecord:
        """The same stack with another process behind one part."""
        return replace(self, parts={**self.parts, part: replace(self.parts[part], handle=handle)})


def save(folder: Path, record: StackRecord) -> None:
    """Write the record so that a reader sees the old one or the new one, never a part of it."""
    data = {"format": _FORMAT, **asdict(record)}
    temporary = folder / f"{RECORD}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    temporary.rename(folder / RECORD)


def load(folder: Path) -> StackRecord:
    """Read the record of the stack in a testbed's folder. Raises StackError when there is none or it is unreadable."""
    path = folder / RECORD
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            raise StackError(
                f"{path} was written by another version of chaosd", remedy="end it with the version that started it"
            )
        return _parse(data)
    except FileNotFoundError as error:
        raise StackError(f"there is no stack in {folder}", remedy="chaosd stack up") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"{path} cannot be read: {error!r}", remedy="chaosd stack down --all ends what is left"
        ) from error


def _parse(data: dict[str, Any]) -> StackRecord:
    return StackRecord(
        provider=data["provider"],
        marker=data["marker"],
        parts={name: _part(part) for name, part in data["parts"].items()},
        proxies=tuple(Proxy(**proxy) for proxy in data["proxies"]),
        endpoints=Endpoints(**{way: _addresses(data["endpoints"][way]) for way in ("direct", "proxied")}),
        capabilities=tuple(data["capabilities"]),
        made=tuple(data.get("made", ())),
    )


def _part(data: dict[str, Any]) -> PartRecord:
    recipe = Recipe.from_json(data["recipe"]) if data["recipe"] else None
    handle = Handle(**data["handle"]) if data["handle"] else None
    return PartRecord(**{**data, "owns": tuple(data["owns"]), "recipe": recipe, "handle": handle})


def _addresses(data: dict[str, Any]) -> Addresses:
    brokers = tuple(Address(**broker) for broker in data.get("brokers", ()))
    return Addresses(Address(**data["redis"]), Address(**data["kafka"]), Postgres(**data["postgres"]), brokers)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, shared by all processes of this machine. Blocks until it is free."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
