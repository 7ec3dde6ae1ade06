"""The external provider: servers that are already there, behind a Toxiproxy that is already there.

chaosd did not start them and does not handle their processes: it only makes its proxies and asks every part, in its own
protocol, whether it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chaosd.kernel.errors import StackError
from chaosd.process.gate import LOCK
from chaosd.stack import handle as records
from chaosd.stack.address import Address
from chaosd.stack.handle import Addresses, Endpoints, PartRecord, Postgres, Proxy, StackRecord
from chaosd.stack.part import NotReady
from chaosd.stack.parts.kafka import broker, protocol
from chaosd.stack.parts.table import PARTS
from chaosd.stack.providers import containers
from chaosd.stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from chaosd.stack.parts.toxiproxy.client import ProxyState
    from chaosd.stack.ports import Ports

HOST = "127.0.0.1"
_START = "start it, or name its address in the section `stack` of the configuration"


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where Toxiproxy reaches the parts: in a compose network by service name, not by the ports of the host."""

    redis: str
    postgres: str
    kafka: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where an external stack is. `listen_host`: the address that Toxiproxy's proxies listen on, as it sees it.

    `compose_file`: the file whose services, named as the parts are, these servers are; empty where that is not known.
    """

    direct: Addresses
    proxied: Addresses
    toxiproxy: Address
    upstreams: Upstreams
    listen_host: str
    capabilities: tuple[str, ...] = ("proxy",)
    compose_file: str = ""


# The ports of docker-compose.chaos.yml. Toxiproxy listens on all addresses of its container, whose ports are published
# on loopback only.
COMPOSE = Places(
    direct=Addresses(Address(HOST, 6380), Address(HOST, 19092), Postgres(HOST, 5433, "chaosd", "chaosd", "pipeline")),
    proxied=Addresses(
        Address(HOST, 26379), Address(HOST, 29092), Postgres(HOST, 25432, "pipeline", "pipeline", "pipeline")
    ),
    toxiproxy=Address(HOST, 8474),
    upstreams=Upstreams("redis:6379", "postgres:5432", "kafka:29092"),
    listen_host="0.0.0.0",
    compose_file="docker-compose.chaos.yml",
)


@dataclass(frozen=True, slots=True)
class ExternalProvider:
    """Connects to servers that others run."""

    places: Places = COMPOSE
    name: str = "external"

    async def up(
        self,
        folder: Path,
        marker: str,
        ports: Ports | None = None,
        on_progress: Callable[[str, float], None] | None = None,
    ) -> Stack:
        """Check every part, make the proxies that are missing, and write the record. Raises StackError."""
        versions = await self._check()
        folder.mkdir(parents=True, exist_ok=True)
        stack = Stack(folder, self._record(marker, versions))
        records.save(folder, stack.record)
        try:
            missing = self._missing(await stack.toxiproxy.list())
            # On the disk before they are made: whoever cleans up after us must know which are ours.
            stack.record = replace(stack.record, made=tuple(proxy.name for proxy in missing))
            records.save(folder, stack.record)
            for proxy in missing:
                await stack.toxiproxy.create_proxy(proxy.name, proxy.listen, proxy.upstream)
            await self._check_proxied()
        except BaseException:
            with contextlib.suppress(StackError):
                await self.down(stack)
            raise
        return stack

    async def down(self, stack: Stack) -> None:
        """Remove the proxies that `up` made and forget the stack. Those that were there before stay as they are."""
        try:
            for name in stack.record.made if (stack.folder / records.RECORD).exists() else ():
                await stack.toxiproxy.delete_proxy(name)
        finally:
            stack.close()
        for left in (stack.folder / LOCK, stack.folder / records.RECORD):
            left.unlink(missing_ok=True)
        if stack.folder.exists() and not any(stack.folder.iterdir()):
            stack.folder.rmdir()

    def _missing(self, present: dict[str, ProxyState]) -> list[Proxy]:
        """The proxies that are not there yet. Raises StackError for one that is there and leads elsewhere."""
        missing = []
        for proxy in self._proxies():
            state = present.get(proxy.name)
            if state is None:
                missing.append(proxy)
            elif (_port(state.listen), state.upstream) != (_port(proxy.listen), proxy.upstream) or not state.enabled:
                how = "" if state.enabled else ", disabled"
                raise StackError(
                    f"Toxiproxy has a proxy {proxy.name} already, {state.listen} → {state.upstream}{how}, "
                    f"where {proxy.listen} → {proxy.upstream} is needed",
                    remedy="remove or enable it, or describe it as it is in the section `stack`",
                )
        return missing

    def _addresses(self) -> dict[str, Address]:
        direct = {name: self.places.direct.of(name) for name in ("kafka", "postgres", "redis")}
        return {**direct, "toxiproxy": self.places.toxiproxy}

    async def _check(self) -> dict[str, str]:
        versions = {}
        for name, address in self._addresses().items():
            ask = broker.reachable if name == "kafka" else PARTS[name].ready
            versions[name] = await self._ask(name, address, ask, service=name)
        return versions

    async def _check_proxied(self) -> None:
        """The way through each proxy, and that Kafka sends its clients back to the proxy and not past it."""
        proxied = self.places.proxied
        for name in ("redis", "postgres"):
            await self._ask(f"{name} through its proxy", proxied.of(name), PARTS[name].ready)
        await self._ask("kafka through its proxy", proxied.kafka, broker.reachable)
        brokers = (await protocol.metadata(proxied.kafka, topics=False)).brokers
        told = {port for _, port in brokers.values()}
        if told != {proxied.kafka.port}:
            raise StackError(
                f"Kafka sends the clients of the proxy {proxied.kafka} past it, to {sorted(brokers.values())}",
                remedy=f"give the broker a listener that advertises {proxied.kafka}, and make it the proxy's upstream",
            )

    async def _ask(
        self, name: str, address: Address, ask: Callable[[Address], Awaitable[str]], service: str = ""
    ) -> str:
        """The version a part tells. Raises StackError, with what a Docker engine knows about it where there is one."""
        # A proxy or a container may have been made a moment ago.
        why: Exception | None = None
        for _ in range(3):
            try:
                return await ask(address)
            except (NotReady, OSError, TimeoutError) as error:
                why = error
            await asyncio.sleep(0.2)
        ports = {address.port for address in self._addresses().values()}
        hint = await containers.explain(address, service, self.places.compose_file, ports)
        raise StackError(
            f"{name} does not serve at {address}: {str(why) or 'no answer'}",
            remedy=hint.remedy or _START,
            detail=hint.detail,
        )

    def _proxies(self) -> tuple[Proxy, ...]:
        places = self.places

        def proxy(name: str, part: str, upstream: str) -> Proxy:
            return Proxy(name, part, f"{places.listen_host}:{places.proxied.of(part).port}", upstream)

        return (
            proxy("redis", "redis", places.upstreams.redis),
            proxy("postgres", "postgres", places.upstreams.postgres),
            proxy("kafka-1", "kafka", places.upstreams.kafka),
        )

    def _record(self, marker: str, versions: dict[str, str]) -> StackRecord:
        places = self.places
        parts = {
            name: PartRecord(name, versions[name], "external", address.host, address.port)
            for name, address in self._addresses().items()
        }

        return StackRecord(
            provider=self.name,
            marker=marker,
            parts=parts,
            proxies=self._proxies(),
            endpoints=Endpoints(places.direct, places.proxied),
            capabilities=places.capabilities,
        )


def _port(listen: str) -> str:
    """An address as Toxiproxy tells it back may be written differently (`[::]:26379`)."""
    return listen.rpartition(":")[2]
