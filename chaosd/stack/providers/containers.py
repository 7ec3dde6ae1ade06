"""What a Docker engine knows about a server that does not answer, told so that it helps.

Only for errors: servers of an external stack are often containers of a compose file, and an engine can say what a
closed port cannot. Without an engine, or with one that does not answer in time, there is nothing to tell, and no error.

Above: from the engine's words (`GET /containers/ID/json`, as `Container.attrs` of the SDK gives them) to an Observation
and its wording. Below: the one place of chaosd that speaks to an engine. It only reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from docker.models.containers import Container

    from chaosd.stack.address import Address

SERVICE_LABEL = "com.docker.compose.service"
LOG_LINES = 8
LOG_LINE_CHARACTERS = 200
ANSWER_LIMIT_S = 2
LIMIT_S = 3.0

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Addresses of the host at which a client on loopback arrives, as bindings name them; none at all means all of them.
_REACHED_FROM_LOOPBACK = frozenset({"", "0.0.0.0", "::", *_LOOPBACK})
_HOLDS_ITS_PORT = ("running", "paused", "restarting")
_ENDED = ("exited", "dead", "restarting")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Observation:
    """A container as its engine describes it.

    `state` is the engine's word (created, running, paused, restarting, removing, exited, dead). `exit_code` is None
    while it means nothing. `turned`: when it last started or, if it ended since, when that was (UTC); empty for never.
    `health` is the word of its own health check, empty without one: no evidence, because an engine calls every
    container unhealthy that was stopped or paused. `ports`: those of the host that lead to it from loopback, also while
    it is stopped.
    """

    name: str
    service: str
    state: str
    exit_code: int | None = None
    out_of_memory: bool = False
    error: str = ""
    health: str = ""
    turned: str = ""
    ports: frozenset[int] = frozenset()
    log: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Name, state, exit code and health in one line."""
        words = [f"container {self.name}: {self.state or 'in no known state'}"]
        if self.turned:
            words.append(f"{'ended' if self.state in _ENDED else 'started'} {self.turned}")
        if self.exit_code is not None:
            words.append(f"exit code {self.exit_code}{_signal(self.exit_code)}")
        if self.out_of_memory:
            words.append("out of memory")
        if self.health:
            words.append(f"health check {self.health}{'' if self.state == 'running' else ' (no longer asked)'}")
        return ", ".join(words)

    @property
    def detail(self) -> str:
        """The summary, the engine's own error, the end of the log: one line each."""
        error = (f"engine: {self.error}",) if self.error else ()
        lines = tuple(f"  {line}" for line in self.log)
        end = ("the end of its log:", *lines) if lines else ("its log is empty, or kept elsewhere",)
        return "\n".join((self.summary, *error, *end))

    @property
    def remedy(self) -> str:
        """The command that helps in this state."""
        match self.state:
            case "created" | "exited":
                # A signal came from outside; any other code was its own choice, and it will choose so again.
                again = "mend what is told above, then " if self.error or 0 < (self.exit_code or 0) <= 128 else ""
                return f"{again}docker start {self.name}"
            case "paused":
                return f"docker unpause {self.name}"
            case "running" if self.health == "starting":
                return f"wait until it has started (docker logs -f {self.name}), then try again"
            case "running" | "restarting":
                return f"docker logs {self.name} may say why; then docker restart {self.name}"
            case _:
                return f"docker rm -f {self.name}, and create it again"


@dataclass(frozen=True, slots=True)
class Hint:
    """What goes into an error; both empty when no engine knows anything."""

    detail: str = ""
    remedy: str = ""


def observe(attrs: Mapping[str, Any]) -> Observation:
    """An Observation without its log, from the engine's description of one container."""
    state: dict[str, Any] = attrs.get("State") or {}
    status = str(state.get("Status") or "")
    host, network = attrs.get("HostConfig") or {}, attrs.get("NetworkSettings") or {}
    # What was asked for stays while a container is stopped; what the engine chose (for port 0) is known while it runs.
    bindings = [host.get("PortBindings") or {}, network.get("Ports") or {}]
    health = str((state.get("Health") or {}).get("Status") or "")
    return Observation(
        name=str(attrs.get("Name") or attrs.get("Id") or "").removeprefix("/"),
        service=str(((attrs.get("Config") or {}).get("Labels") or {}).get(SERVICE_LABEL) or ""),
        state=status,
        exit_code=int(state.get("ExitCode") or 0) if status in _ENDED else None,
        out_of_memory=bool(state.get("OOMKilled")) and status in _ENDED,
        error=" ".join(str(state.get("Error") or "").split()),
        health="" if health == "none" else health,
        turned=_seconds(str(state.get("FinishedAt" if status in _ENDED else "StartedAt") or "")),
        ports=frozenset(port for ports in bindings for bound in ports.values() for port in _ports(bound)),
    )


def holder(containers: Iterable[Observation], port: int) -> Observation | None:
    """The container that leads to a port of loopback: the one that runs, or of the others the last one that did."""
    there = [container for container in containers if port in container.ports]
    return max(there, key=lambda one: (one.state in _HOLDS_ITS_PORT, one.turned), default=None)


def log_lines(log: bytes) -> tuple[str, ...]:
    """The last lines of a log, fit for a terminal: no colours, no control characters, none of them endless."""
    text = _COLOURS.sub("", log.decode(errors="replace"))
    lines = ("".join(sign if sign.isprintable() else " " for sign in line).rstrip() for line in text.splitlines())
    return tuple(_cut(line) for line in lines if line)[-LOG_LINES:]


def absent(
    containers: Iterable[Observation], address: Address, service: str, compose_file: str, ports: Collection[int]
) -> Hint:
    """For a service of a compose file that has no container. `ports` are those of all of its services.

    Where none of them has one, all of them are to be started.
    """
    if not (service and compose_file):
        return Hint()
    alone = any(container.ports.intersection(ports) for container in containers)
    command = f"docker compose -f {shlex.quote(compose_file)} up -d{f' {service}' if alone else ''}"
    return Hint(f"the Docker engine has no container of a compose file that publishes {address}", command)


def _ports(bound: Any) -> Iterable[int]:
    """The ports in a list of bindings (`[{"HostIp": "127.0.0.1", "HostPort": "6380"}]`) that loopback leads to."""
    for binding in bound or ():
        port = str(binding.get("HostPort") or "")
        if binding.get("HostIp", "") in _REACHED_FROM_LOOPBACK and port.isdigit() and int(port):
            yield int(port)


def _seconds(instant: str) -> str:
    """`2026-01-31T12:00:00.123456789Z` without the fraction; the engine's zero (year 1) is no instant."""
    return "" if instant.startswith("0001") or len(instant) < 20 else f"{instant[:19]}Z"


def _cut(line: str) -> str:
    return line if len(line) <= LOG_LINE_CHARACTERS else f"{line[: LOG_LINE_CHARACTERS - 1]}…"


def _signal(exit_code: int) -> str:
    """An exit code above 128 is how a container tells that a signal ended it."""
    with contextlib.suppress(ValueError):
        return f" ({signal.Signals(exit_code - 128).name})"
    return ""


async def explain(address: Address, service: str = "", compose_file: str = "", ports: Collection[int] = ()) -> Hint:
    """What the engine knows about a server that does not answer at an address. No engine, or nothing in time: empty.

    `service` and `compose_file` are named where the address is known to be that of a service of a compose file, and
    `ports` those of all services that chaosd uses from it.
    """
    containers = await _containers(address)
    if containers is None:
        return Hint()
    found = holder(containers, address.port)
    if found is None:
        return absent(containers, address, service, compose_file, ports)
    return Hint(found.detail, found.remedy)


async def seen(address: Address) -> Observation | None:
    """The container of a compose file that leads to an address, if an engine knows of one."""
    return holder(await _containers(address) or (), address.port)


async def _containers(address: Address) -> list[Observation] | None:
    """All containers of compose files, that of the address with its log. None: no engine, or the wrong machine's."""
    if address.host not in _LOOPBACK:
        return None
    try:
        async with asyncio.timeout(LIMIT_S):
            # A thread cannot be cancelled. Of an engine that says nothing at all this one comes back by itself.
            return await asyncio.to_thread(_ask, address.port)
    except TimeoutError:
        return None


def _ask(port: int) -> list[Observation] | None:
    """Ask the engine that the `docker` command would ask: DOCKER_HOST's, its context's, or that of the usual socket."""
    # 0.2 s and a good many modules, which a run on servers that answer never needs.
    import docker  # noqa: PLC0415
    from docker.errors import DockerException  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415

    try:
        client = docker.from_env(timeout=ANSWER_LIMIT_S)
    except Exception:  # noqa: BLE001 - the SDK raises just that for a damaged context of the `docker` command
        return None
    try:
        with contextlib.closing(client):
            listed = client.containers.list(all=True, filters={"label": SERVICE_LABEL}, ignore_removed=True)
            containers = [observe(container.attrs) for container in listed]
            found = holder(containers, port)
            if found is not None:
                at = containers.index(found)
                containers[at] = replace(found, log=_log(listed[at]))
            return containers
    except (DockerException, RequestException, OSError):
        return None


def _log(container: Container) -> tuple[str, ...]:
    """The end of a container's log; nothing where the engine keeps none that it could give back."""
    from docker.errors import APIError  # noqa: PLC0415

    try:
        return log_lines(container.logs(tail=LOG_LINES))
    except APIError:
        return ()
