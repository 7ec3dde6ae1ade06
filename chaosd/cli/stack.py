"""`chaosd stack`: install, start, look at and stop the real parts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from rich.console import Console

    from chaosd.stack.ports import Ports
    from chaosd.stack.stack import Stack

T = TypeVar("T")

app = typer.Typer(help="Install, start, look at and stop the real parts.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Option("--name", help="Which testbed, when there are several.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.", show_default=False)]


@app.command()
def install() -> None:
    """Fetch and prepare Kafka, Toxiproxy and the templates, once. Goes on where it was broken off."""
    import os
    import signal

    from rich.console import Console

    from chaosd.kernel.errors import Exit
    from chaosd.process import spawn
    from chaosd.process.places import cache_dir, install_marker
    from chaosd.stack import install as installation

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    try:
        with _progress(console) as on_progress:
            found = installation.install(on_progress)
    except KeyboardInterrupt:
        # The steps run in threads that cannot be interrupted; each leaves only a temporary folder, which the next
        # installation removes.
        spawn.end_marked(install_marker())
        console.print("interrupted; `chaosd stack install` goes on from here")
        os._exit(Exit.ABORTED)
    for name in ("redis", "postgres", "kafka", "toxiproxy", "java"):
        binary = getattr(found, name)
        console.print(f"{name:<10} {binary.version:<10} {binary.origin}", highlight=False)
    console.print(f"installed in {cache_dir()}", highlight=False)


@app.command()
def up(
    name: Name = "default",
    port_redis: Port = 0,
    port_postgres: Port = 0,
    port_kafka: Port = 0,
    port_toxiproxy: Port = 0,
    port_redis_proxied: Port = 0,
    port_postgres_proxied: Port = 0,
    port_kafka_proxied: Port = 0,
    brokers: Annotated[int, typer.Option(help="Of Kafka: 1, or a cluster of 3.")] = 1,
) -> None:
    """Start a stack and leave it running; print where its parts are."""
    from chaosd.kernel.errors import UsageError
    from chaosd.stack.parts.kafka.broker import CLUSTER
    from chaosd.stack.ports import Ports

    ports = Ports(
        redis=port_redis,
        postgres=port_postgres,
        kafka=port_kafka,
        toxiproxy=port_toxiproxy,
        redis_proxied=port_redis_proxied,
        postgres_proxied=port_postgres_proxied,
        kafka_proxied=port_kafka_proxied,
    )
    if brokers not in (1, CLUSTER):
        raise UsageError(f"there is no stack with {brokers} brokers", remedy=f"--brokers 1, or --brokers {CLUSTER}")
    cancellable(_up(_folder(name), ports if ports != Ports() else None, brokers))


async def _up(folder: Path, ports: Ports | None, brokers: int) -> None:
    from rich.console import Console

    from chaosd.kernel.errors import UsageError
    from chaosd.stack.handle import RECORD
    from chaosd.stack.stack import Stack
    from chaosd.testbed.testbed import Testbed

    console = Console()
    if (folder / RECORD).exists():
        stack = Stack.open(folder)
        has = len(stack.members("kafka"))
        if has != brokers:
            raise UsageError(
                f"{folder.name} is up, with {has} Kafka broker{'s' * (has > 1)}",
                remedy=f"`chaosd stack down {folder.name}`, or give another --name",
            )
        down = [part for part in stack.record.parts if not stack.alive(part)]
        for part in down:
            await stack.start_part(part)
        console.print(f"{folder.name} was up{'; started again: ' + ', '.join(down) if down else ''}", highlight=False)
    else:
        with _progress(console) as on_progress:
            async with guarded(folder, brokers):
                stack = (await Testbed.up(folder, on_progress, ports=ports)).stack
    stack.close()
    _print_endpoints(stack)


@app.command()
def down(
    name: Annotated[str, typer.Argument(help="Which testbed.")] = "default",
    every: Annotated[bool, typer.Option("--all", help="All testbeds of this user.")] = False,
) -> None:
    """End a stack's processes and remove its data. One that a run is using is left alone."""
    from chaosd.conductor.turn import take
    from chaosd.healing.leases import Leases
    from chaosd.kernel.errors import UsageError, nearest
    from chaosd.testbed.testbed import tear_down

    folders = _testbeds()
    chosen = folders if every else [folder for folder in folders if folder.name == name]
    if not chosen and not every:
        near = nearest(name, [folder.name for folder in folders])
        remedy = f"did you mean {near!r}?" if near else "`chaosd stack status` shows the testbeds there are"
        raise UsageError(f"there is no testbed {name!r}", remedy=remedy)
    broken = {lease.testbed: lease for lease in Leases().all()}
    for folder in chosen:
        if str(folder) in broken and _of_others(folder):
            lease = broken[str(folder)]
            raise UsageError(
                f"{folder.name} is on servers of others, where {lease.fault} on {lease.on} is still in force",
                remedy="chaosd heal",
            )
        own = not _of_others(folder)
        with take(folder.name):
            cancellable(tear_down(folder))
        if own:
            Leases().close_all_on(folder)
        print(f"{folder.name} is down")


def _of_others(folder: Path) -> bool:
    """Whether its servers outlive the testbed, and with them whatever is broken there."""
    from chaosd.kernel.errors import StackError
    from chaosd.stack.stack import Stack

    try:
        return "restart" not in Stack.open(folder).capabilities
    except StackError:
        return False


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show every stack of this user: versions, origins, processes, ports, memory."""
    import json

    from rich.console import Console

    from chaosd.kernel.errors import StackError
    from chaosd.stack.stack import Stack

    console = Console()
    rows = {}
    for folder in _testbeds():
        try:
            rows[folder.name] = cancellable(_status(Stack.open(folder)))
        except StackError as error:
            console.print(f"{folder.name}: {error.message}", highlight=False)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        console.print("no stack is up; `chaosd stack up` starts one")
    for name, parts in rows.items():
        console.print(_table(name, parts))


async def _status(stack: Stack) -> dict[str, dict[str, object]]:
    from chaosd.process import spawn
    from chaosd.stack.part import NotReady
    from chaosd.stack.providers import containers

    usage = await stack.usage()
    rows: dict[str, dict[str, object]] = {}
    for name, part in stack.record.parts.items():
        container = None
        state = "paused" if part.handle and spawn.state(part.handle) == "T" else "stopped"
        if state != "paused" and (part.handle is None or spawn.alive(part.handle)):
            try:
                await stack.ready(name)
                state = "serves"
            except (NotReady, OSError, TimeoutError):
                state = "does not answer"
                container = await containers.seen(part.address) if part.handle is None else None
        rows[name] = {
            "version": part.version,
            "origin": part.origin,
            "pid": part.handle.pid if part.handle and spawn.alive(part.handle) else None,
            "port": part.port,
            "proxied": [int(proxy.listen.rpartition(":")[2]) for proxy in stack.proxies() if proxy.part == name],
            "pss_kb": usage[name].pss_kb if name in usage else 0,
            "state": state,
            "container": f"{container.name} {container.state}" if container else None,
        }
    return rows


def _table(name: str, parts: dict[str, dict[str, object]]) -> object:
    from rich.table import Table

    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    for column in ("part", "version", "origin", "pid", "port", "proxied", "PSS MB", "state"):
        table.add_column(column, justify="right" if column in {"pid", "port", "PSS MB"} else "left")
    for part, row in parts.items():
        size = int(str(row["pss_kb"])) / 1000
        proxied = row["proxied"]
        shown = ", ".join(map(str, proxied)) if isinstance(proxied, list) else ""
        state = f"{row['state']} ({row['container']})" if row["container"] else row["state"]
        values = (row["version"], row["origin"], row["pid"] or "–", row["port"], shown, f"{size:.1f}", state)
        table.add_row(part, *map(str, values))
    total = sum(int(str(row["pss_kb"])) for row in parts.values()) / 1000
    table.add_row("total", "", "", "", "", "", f"{total:.1f}", "")
    return table


@app.command()
def logs(
    part: Annotated[str, typer.Argument(help="redis, postgres, kafka or toxiproxy.")],
    name: Name = "default",
    lines: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Print the log of a part."""
    import time

    from chaosd.stack.ready import tail
    from chaosd.stack.stack import Stack

    log = Stack.open(_folder(name)).log(part)
    if text := tail(log, lines):
        print(text, flush=True)
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        while follow:
            if new := file.read():
                print(new, end="", flush=True)
            time.sleep(0.2)


def _folder(name: str) -> Path:
    import re

    from chaosd.kernel.errors import UsageError
    from chaosd.process.places import testbeds_dir

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UsageError(f"{name!r} is no name for a testbed", remedy="use letters, digits, `-`, `_` and `.`")
    return testbeds_dir() / name


def _testbeds() -> list[Path]:
    """The folders of all testbeds that have, or had, a stack."""
    from chaosd.process.places import testbeds_dir

    root = testbeds_dir()
    return sorted(folder for folder in root.iterdir() if folder.is_dir()) if root.exists() else []


def _print_endpoints(stack: Stack) -> None:
    direct, proxied = stack.endpoints.direct, stack.endpoints.proxied
    rows = (
        ("", "direct", "proxied"),
        ("redis", f"redis://{direct.redis}/0", f"redis://{proxied.redis}/0"),
        ("kafka", direct.bootstrap, proxied.bootstrap),
        ("postgres", direct.postgres.dsn, proxied.postgres.dsn),
        ("toxiproxy", f"http://{stack.part('toxiproxy').address}", ""),
    )
    for name, one, other in rows:
        print(f"{name:<10} {one:<56} {other}".rstrip())


def cancellable(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine so that SIGTERM cancels it as Ctrl-C does: what it started is ended before this process is."""
    import asyncio
    import signal

    async def watched() -> T:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextlib.asynccontextmanager
async def guarded(folder: Path, brokers: int) -> AsyncIterator[None]:
    """While a stack starts its testbed is ours: Ctrl-C ends what was started, after SIGKILL a watchdog does.

    Once it is up nobody owns it: it stays until `chaosd stack down`.
    """
    from dataclasses import replace

    from chaosd.kernel.errors import StackError
    from chaosd.process.control import Child
    from chaosd.testbed import record as records
    from chaosd.testbed.testbed import BROKERS, announce, owner_of_this_process, tear_down

    extra = {BROKERS: brokers} if brokers > 1 else None
    announce(folder.name, provider="embedded", kept=True, owner=owner_of_this_process(), extra=extra)
    watchdog = None
    try:
        watchdog = await Child.start("chaosd.healing.watchdog")
        await watchdog.send({"cmd": "arm", "run_dir": None, "testbed": str(folder), "teardown": True, "run_id": ""})
        async for event in watchdog.events():
            if event["event"] == "armed":
                break
        else:
            raise StackError("the watchdog of the start ended before it was armed")
        yield
        records.save(folder, replace(records.load(folder), owner=None))
    except BaseException:
        await tear_down(folder)
        raise
    finally:
        if watchdog is not None:
            await watchdog.send({"cmd": "disarm"})
            await watchdog.close()


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    """On a terminal a bar for each step, elsewhere one line for each step that is done."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    if not console.is_terminal:
        yield lambda step, share: print(f"{step}: ready", flush=True) if share >= 1 else None
        return
    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description:<18}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def show(step: str, share: float) -> None:
            if step not in bars:
                bars[step] = progress.add_task(step, total=None)
            if share >= 1:
                progress.update(bars[step], total=1, completed=1)

        yield show
