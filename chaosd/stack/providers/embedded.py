"""The embedded provider: every part is a process of this machine's user, with its data in the testbed's folder."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosd.kernel import names
from chaosd.kernel.errors import ChaosdError, StackError
from chaosd.process import spawn, userns
from chaosd.process.gate import LOCK
from chaosd.stack import handle as records
from chaosd.stack.address import Address
from chaosd.stack.handle import Addresses, Endpoints, PartRecord, Postgres, Proxy, StackRecord
from chaosd.stack.install import Installed, install
from chaosd.stack.parts import postgres, redis
from chaosd.stack.parts.kafka import broker
from chaosd.stack.parts.toxiproxy import server
from chaosd.stack.ports import Ports, PortTaken
from chaosd.stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaosd.process.spawn import Recipe

HOST = "127.0.0.1"
KAFKA = "kafka"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CAPABILITIES = ("proxy", "restart", "kill", "admin", "own")
_DATA, _LOGS = "data", "logs"


def _silent(step: str, share: float) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class EmbeddedProvider:
    """Starts real servers as processes of its own. Installs what is missing.

    `brokers`: 1, whose part is `kafka`, or a cluster of 3, whose parts are `kafka/1` and so on.
    """

    name: str = "embedded"
    brokers: int = 1

    async def up(
        self,
        folder: Path,
        marker: str,
        ports: Ports | None = None,
        on_progress: Callable[[str, float], None] | None = None,
    ) -> Stack:
        """Start all parts side by side in `folder`, each process marked with `marker`; they serve when this returns.

        A folder that is not there is made. Raises StackError; then, and when cancelled, nothing is left.
        """
        progress = on_progress or _silent
        found = await asyncio.to_thread(install, progress)
        wanted = (ports or Ports()).of_brokers(self.brokers)
        try:
            return await _start(folder, marker, wanted.chosen(), found, progress)
        except PortTaken:
            # A port that was free a moment ago: another stack chose it, too. Fixed ports stay taken.
            if ports is not None:
                raise
            return await _start(folder, marker, wanted.chosen(), found, progress)

    async def down(self, stack: Stack) -> None:
        """End all processes of the stack, the marked ones that no handle names included, and remove its files."""
        stack.close()
        await asyncio.to_thread(remove, stack.folder, stack.record.marker)


async def _start(
    folder: Path, marker: str, ports: Ports, found: Installed, progress: Callable[[str, float], None]
) -> Stack:
    record = _record(folder, marker, ports, found)
    stack = Stack(folder, record)
    try:
        (folder / _LOGS).mkdir(parents=True)
        (folder / _DATA).mkdir()
        records.save(folder, record)
        async with asyncio.TaskGroup() as group:
            for name in record.parts:
                # Copied here and not in a thread: a cancelled start must not leave one that still writes files.
                _lay_out(name, _data(folder, name), ports, found)
                group.create_task(_start_part(stack, name, progress))
                await asyncio.sleep(0)  # Kafka's process is on its way while the next part's files are copied
        if ports.more:
            await broker.make_offsets_topic(record.endpoints.direct.kafka)
    except BaseException as error:
        stack.close()
        # Not in a thread and not awaited: the clean-up must be complete, also when this task is being cancelled.
        remove(folder, marker)
        raise _reason(error) from error
    return stack


async def _start_part(stack: Stack, name: str, progress: Callable[[str, float], None]) -> None:
    progress(name, 0.0)
    await stack.start_part(name)
    progress(name, 1.0)


def _reason(error: BaseException) -> BaseException:
    """The one error that a person should see."""
    if isinstance(error, BaseExceptionGroup):
        known = [one for one in error.exceptions if isinstance(one, ChaosdError)]
        return next((one for one in known if isinstance(one, PortTaken)), known[0] if known else error.exceptions[0])
    if isinstance(error, OSError):
        why = _first_reason(error)
        full = any(os.strerror(code) in why for code in _FULL)
        remedy = "make room on the disk" if full else "check the folder of the testbed"
        return StackError(f"the stack cannot be laid out: {why}", remedy=remedy)
    return error


def _first_reason(error: OSError) -> str:
    """Copying a tree gathers the errors of all its files: (from, to, why) each."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][2])
    return str(error)


def _data(folder: Path, part: str) -> Path:
    return folder / _DATA / names.plain(part)


def _nodes(ports: Ports) -> dict[str, broker.Node]:
    """The brokers by the names of their parts: the only one has no number."""
    nodes = [
        broker.Node(number, one.direct, one.proxied, one.inner, one.controller)
        for number, one in enumerate(ports.brokers, 1)
    ]
    if len(nodes) == 1:
        return {KAFKA: nodes[0]}
    return dict(zip(names.numbered(KAFKA, (node.id for node in nodes)), nodes, strict=True))


def _lay_out(name: str, data: Path, ports: Ports, found: Installed) -> None:
    """What one part's process finds when it starts: a copy of its template, or an empty folder."""
    if names.kind(name) == KAFKA:
        log, nodes = data / "log", _nodes(ports)
        if len(nodes) == 1:
            shutil.copytree(found.kafka_template, log)
        else:
            broker.lay_out(found.kafka_template, log, nodes[name].id)
        text = broker.properties(nodes[name], tuple(nodes.values()), log)
        (data / "server.properties").write_text(text, encoding="utf-8")
    elif name == "postgres":
        shutil.copytree(found.postgres_template, data)
        userns.hand_over(data)
    else:
        data.mkdir()


def _record(folder: Path, marker: str, ports: Ports, found: Installed) -> StackRecord:
    return StackRecord(
        provider="embedded",
        marker=marker,
        parts={part.name: part for part in _parts(folder, ports, found)},
        proxies=(
            Proxy("redis", "redis", f"{HOST}:{ports.redis_proxied}", f"{HOST}:{ports.redis}"),
            Proxy("postgres", "postgres", f"{HOST}:{ports.postgres_proxied}", f"{HOST}:{ports.postgres}"),
            *(
                # A name with a slash could not be deleted.
                Proxy(f"{KAFKA}-{node.id}", name, f"{HOST}:{node.proxied}", f"{HOST}:{node.inner}")
                for name, node in _nodes(ports).items()
            ),
        ),
        endpoints=_endpoints(ports),
        capabilities=CAPABILITIES,
    )


def _parts(folder: Path, ports: Ports, found: Installed) -> tuple[PartRecord, ...]:
    def data(name: str) -> Path:
        return _data(folder, name)

    def log(name: str) -> Path:
        return folder / _LOGS / f"{names.plain(name)}.log"

    def kafka(name: str) -> Recipe:
        config = data(name) / "server.properties"
        return broker.recipe(str(found.java.path), found.class_path, found.java_cache, config, log(name), name)

    nodes = _nodes(ports)
    programs = {
        # Kafka first: the others are up before it is.
        **{name: (found.kafka, node.direct, kafka(name)) for name, node in nodes.items()},
        "postgres": (
            found.postgres,
            ports.postgres,
            postgres.recipe(found.postgres.path, ports.postgres, data("postgres"), log("postgres")),
        ),
        "redis": (
            found.redis,
            ports.redis,
            redis.recipe(str(found.redis.path), ports.redis, data("redis"), log("redis")),
        ),
        "toxiproxy": (
            found.toxiproxy,
            ports.toxiproxy,
            server.recipe(str(found.toxiproxy.path), ports.toxiproxy, data("toxiproxy"), log("toxiproxy")),
        ),
    }
    more = {name: (node.inner, node.controller) for name, node in nodes.items()}
    return tuple(
        PartRecord(name, binary.version, binary.origin, HOST, port, (port, *more.get(name, ())), recipe)
        for name, (binary, port, recipe) in programs.items()
    )


def _endpoints(ports: Ports) -> Endpoints:
    ordinary = (postgres.PIPELINE, postgres.PIPELINE, postgres.PIPELINE)
    cluster = ports.brokers if ports.more else ()
    return Endpoints(
        direct=Addresses(
            Address(HOST, ports.redis),
            Address(HOST, ports.kafka),
            Postgres(HOST, ports.postgres, postgres.SUPERUSER, postgres.SUPERUSER, postgres.PIPELINE),
            tuple(Address(HOST, one.direct) for one in cluster),
        ),
        proxied=Addresses(
            Address(HOST, ports.redis_proxied),
            Address(HOST, ports.kafka_proxied),
            Postgres(HOST, ports.postgres_proxied, *ordinary),
            tuple(Address(HOST, one.proxied) for one in cluster),
        ),
    )


def remove(folder: Path, marker: str) -> None:
    """End by handle, then by marker, then remove the stack's files, and the folder if it is empty then.

    Idempotent; blocks. A record that cannot be read is no obstacle: the marker finds what the handles would.
    """
    with contextlib.suppress(StackError):
        for part in records.load(folder).parts.values():
            if part.handle:
                spawn.end(part.handle, 0)
    spawn.end_marked(marker)
    for name in (_DATA, _LOGS):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for left in (folder / LOCK, *folder.glob(f"{records.RECORD}*")):
        left.unlink(missing_ok=True)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
