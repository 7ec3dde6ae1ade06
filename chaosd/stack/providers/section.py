"""The section `stack` of a file, for servers that others run. Its form is a contract: docs/external-stacks.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from chaosd.kernel.errors import SourceError
from chaosd.stack.address import Address
from chaosd.stack.handle import Addresses, Postgres
from chaosd.stack.providers.external import COMPOSE, Places, Upstreams


def _host_and_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError("host:port, such as 127.0.0.1:6379")
    return text


HostPort = Annotated[str, AfterValidator(_host_and_port)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Strict):
    """A part. `upstream`: how Toxiproxy reaches it, `direct` if that is the same."""

    direct: HostPort
    proxied: HostPort
    upstream: HostPort | None = None


class Broker(Server):
    """Kafka. `upstream` is the listener that advertises the proxied address, which is never the direct one."""

    brokers: Literal[1] = 1


class Cluster(_Strict):
    """Kafka of an embedded stack: chaosd itself finds the places of its brokers."""

    brokers: Literal[1, 3] = 1


_WHOSE = ("external", "embedded")


def _whose(kafka: Any) -> str:
    """Whether Kafka is somebody's, at an address, or to be started: only that one's errors are told."""
    given = kafka if isinstance(kafka, dict) else vars(kafka)
    return _WHOSE[given.keys() <= Cluster.model_fields.keys()]


class Administrator(_Strict):
    """A superuser of PostgreSQL."""

    user: str
    password: str


class Database(Server):
    """PostgreSQL, with the role and database of the pipeline. chaosd itself is `admin`, where one is given."""

    user: str = "pipeline"
    password: str = "pipeline"
    database: str = "pipeline"
    admin: Administrator | None = None


class StackSection(_Strict):
    """`stack:` as people write it."""

    provider: Literal["embedded", "docker", "external"] = "embedded"
    kafka: (
        Annotated[Annotated[Broker, Tag("external")] | Annotated[Cluster, Tag("embedded")], Discriminator(_whose)]
        | None
    ) = None
    redis: Server | None = None
    postgres: Database | None = None
    toxiproxy: HostPort = str(COMPOSE.toxiproxy)
    listen_host: str = "127.0.0.1"
    capabilities: tuple[Literal["proxy", "restart", "kill", "admin"], ...] = Field(default=("proxy",))


def parse(section: dict[str, Any], file: str) -> StackSection:
    """Check a section. Raises SourceError with the place inside the document."""
    try:
        return StackSection.model_validate(section)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(["stack", *(str(part) for part in first["loc"] if part not in _WHOSE)])
        raise SourceError(first["msg"], file=file, path=path, found=repr(first["input"])) from error


def places(section: StackSection, file: str = "") -> Places:
    """Where the servers are. Without any address: the ports of docker-compose.chaos.yml. Raises SourceError.

    Restarting and killing need a process of chaosd's own: of what the section offers only `proxy` and `admin` count.
    """
    redis, kafka, postgres = section.redis, section.kafka, section.postgres
    if not (redis or kafka or postgres):
        return COMPOSE
    if not (redis and postgres and isinstance(kafka, Broker)):
        raise SourceError(
            "an external stack names all three, with their addresses: kafka, redis, postgres",
            file=file,
            path="stack",
            remedy="add what is missing",
        )
    role = (postgres.user, postgres.password, postgres.database)
    admin = postgres.admin
    own = (admin.user, admin.password, postgres.database) if admin is not None else role
    return Places(
        direct=Addresses(_address(redis.direct), _address(kafka.direct), _database(postgres.direct, own)),
        proxied=Addresses(_address(redis.proxied), _address(kafka.proxied), _database(postgres.proxied, role)),
        toxiproxy=_address(section.toxiproxy),
        upstreams=Upstreams(
            redis.upstream or redis.direct, postgres.upstream or postgres.direct, kafka.upstream or kafka.direct
        ),
        listen_host=section.listen_host,
        capabilities=tuple(name for name in section.capabilities if name in {"proxy", "admin"}),
    )


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host, int(port))


def _database(text: str, role: tuple[str, str, str]) -> Postgres:
    place = _address(text)
    return Postgres(place.host, place.port, *role)
