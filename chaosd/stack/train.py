"""Templates that a stack is copied from: a formatted and trained Kafka, an initialised PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from chaosd.kernel.errors import StackError
from chaosd.process import spawn, userns
from chaosd.process.places import install_marker
from chaosd.stack import fetch
from chaosd.stack.address import Address
from chaosd.stack.part import Part
from chaosd.stack.parts import postgres as database
from chaosd.stack.parts.kafka import broker
from chaosd.stack.ports import free_ports
from chaosd.stack.ready import remedy_of, tail, until_ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DATA = "data"
_CACHE = "kafka.aot"
_RUN_S = 120.0


def cache_flags(folder: Path) -> tuple[str, ...]:
    """The JVM flags that use the AOT cache in a folder; none when there is no cache."""
    cache = folder / _CACHE
    return (f"-XX:AOTCache={cache}",) if cache.exists() else ()


def kafka(folder: Path, java: Path, jars: Path, *, aot: bool) -> None:
    """Format a data folder and run a broker on it once: that makes the offsets topic, and the AOT cache at its end."""
    data, log, config = folder / DATA, folder / "train.log", folder / "server.properties"
    names = fetch.class_path(jars)
    direct, proxied, inner, controller = free_ports(4, set())
    alone = broker.Node(1, direct, proxied, inner, controller)
    config.write_text(broker.properties(alone, (alone,), data), encoding="utf-8")
    _must(
        broker.format_recipe(str(java), names, broker.random_id(), config, log),
        "Kafka's data folder cannot be formatted",
    )
    flags = (f"-XX:AOTCacheOutput={folder / _CACHE}",) if aot else ()
    recipe = broker.recipe(str(java), names, flags, config, log)
    asyncio.run(_once(recipe, broker.part, Address("127.0.0.1", direct), broker.make_offsets_topic))
    if aot and not (folder / _CACHE).exists():
        raise StackError("Java wrote no AOT cache", detail=tail(log), remedy="set CHAOSD_JAVA to another Java")


def postgres(folder: Path, bin_dir: Path) -> None:
    """Initialise a database cluster with chaosd's and the pipeline's roles. `folder` itself becomes the cluster."""
    log = folder.parent / f"{folder.name}.log"
    try:
        userns.hand_over(folder)
        folder.chmod(0o700)
        _must(database.init_recipe(bin_dir, folder, log), "PostgreSQL's data folder cannot be initialised")
        (port,) = free_ports(1, set())
        recipe = database.recipe(bin_dir, port, folder, log)
        asyncio.run(_once(recipe, database.part, Address("127.0.0.1", port), database.set_up))
    finally:
        log.unlink(missing_ok=True)


def _must(recipe: spawn.Recipe, problem: str) -> None:
    ended = spawn.run(recipe, _RUN_S, install_marker())
    if ended.code != 0:
        raise StackError(
            problem, detail="\n".join(ended.output.strip().splitlines()[-8:]), remedy=remedy_of(ended.output)
        )


async def _once(recipe: spawn.Recipe, part: Part, address: Address, work: Callable[[Address], Awaitable[None]]) -> None:
    """Run a server from its start to its orderly end, with some work between."""
    handle = spawn.start(recipe, install_marker())
    try:
        await until_ready(part, address, handle, recipe.log)
        await work(address)
        spawn.send_signal(handle, part.stop)
        if not await asyncio.to_thread(spawn.wait_gone, handle, _RUN_S):
            raise StackError(f"{part.name} does not end", detail=tail(recipe.log))
    finally:
        await asyncio.to_thread(spawn.end, handle, 0)
