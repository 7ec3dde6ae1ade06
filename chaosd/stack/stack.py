"""The Stack: real parts that run, as any process may reach and handle them. Rebuilt from a testbed's folder."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chaosd.kernel import names
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import StackError, UsageError, nearest
from chaosd.process import gate, sockets, spawn
from chaosd.stack import handle as records
from chaosd.stack import ports
from chaosd.stack.handle import Endpoints, PartRecord, Proxy, StackRecord
from chaosd.stack.parts.table import part_of
from chaosd.stack.ready import Died, Started, tail, until_ready

if TYPE_CHECKING:
    from chaosd.stack.parts.toxiproxy.client import Toxiproxy

STOP_S = 15.0  # Kafka ends within 0.5 s, under load within 5
_RETRY_S = 5.0
_ALL_STOPPED_S = 1.0

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Usage:
    """The memory of a part's processes in KB: PSS counts each shared page once over all who share it, RSS in full."""

    pss_kb: int
    rss_kb: int
    processes: int


class Stack:
    """A running stack. `folder` is the testbed's folder, which holds its record."""

    def __init__(self, folder: Path, record: StackRecord) -> None:
        self.folder = folder
        self.record = record
        self._toxiproxy: Toxiproxy | None = None

    @classmethod
    def open(cls, folder: Path) -> Stack:
        """Rebuild a stack from its folder, in any process. Raises StackError when there is none."""
        return cls(folder, records.load(folder))

    @property
    def endpoints(self) -> Endpoints:
        """Where the parts are: DIRECT and PROXIED."""
        return self.record.endpoints

    @property
    def capabilities(self) -> frozenset[str]:
        """What may be done to this stack: proxy, restart, kill, admin, own (lose its data)."""
        return frozenset(self.record.capabilities)

    @property
    def toxiproxy(self) -> Toxiproxy:
        """The adapter to this stack's Toxiproxy. It keeps a thread: `close` ends it."""
        if self._toxiproxy is None:
            # Its library is slow to import, and `chaosd heal` must begin within a second.
            from chaosd.stack.parts.toxiproxy.client import Toxiproxy  # noqa: PLC0415

            self._toxiproxy = Toxiproxy(self.part("toxiproxy").address)
        return self._toxiproxy

    def close(self) -> None:
        """Give up what this object holds. The parts run on."""
        if self._toxiproxy is not None:
            self._toxiproxy.close()
            self._toxiproxy = None

    def part(self, name: str) -> PartRecord:
        """What is on disk about one part, its newest process included. Raises UsageError for an unknown name."""
        self.record = records.load(self.folder)
        if name not in self.record.parts:
            near = nearest(name, self.record.parts)
            remedy = f"did you mean {near!r}?" if near else f"one of: {', '.join(self.record.parts)}"
            raise UsageError(f"there is no part {name!r} in this stack", remedy=remedy)
        return self.record.parts[name]

    def handle(self, name: str) -> spawn.Handle | None:
        """The process behind a part, dead or alive; None when chaosd never started it."""
        return self.part(name).handle

    def alive(self, name: str) -> bool:
        """Whether chaosd's process behind a part runs (or is paused)."""
        found = self.handle(name)
        return found is not None and spawn.alive(found)

    def log(self, name: str) -> Path:
        """The log file of a part that chaosd started."""
        return Path(self._recipe(name).log)

    def proxy_of(self, part: str) -> tuple[str, ...]:
        """The names of the proxies in front of a part: one, for all of Kafka one for each broker."""
        return tuple(proxy.name for proxy in self.record.proxies if names.touch(proxy.part, part))

    def members(self, part: str) -> tuple[str, ...]:
        """The parts that a name stands for: itself, or all brokers of a cluster. Raises UsageError for an unknown name.

        One broker that is the only one has no number.
        """
        return names.members(self.record.parts, part) or (self.part(part).name,)

    def proxies(self) -> tuple[Proxy, ...]:
        """All proxies, with the addresses they listen on and forward to."""
        return self.record.proxies

    def _recipe(self, name: str) -> spawn.Recipe:
        recipe = self.part(name).recipe
        if recipe is None:
            raise StackError(
                f"chaosd did not start {name} and cannot handle its process", remedy="use the embedded stack"
            )
        return recipe

    async def start_part(self, name: str) -> Started:
        """Start a part, or adopt it if it runs, and wait until it serves. A restarted Toxiproxy gets its proxies again.

        Raises StackError (PortTaken, Died) when it does not.
        """
        started = await self._start(name, _clock.now_ns() + int(_RETRY_S * 1e9))
        if name != "toxiproxy":
            return started
        await self.repopulate()
        return replace(started, ready_ns=_clock.now_ns())

    async def _start(self, name: str, retry_until_ns: int) -> Started:
        recipe = self._recipe(name)
        while True:
            # No await between the fork and the record on disk: a cancelled start must leave no unknown process.
            async with gate.starting(self.folder):
                handle = self._spawn_or_adopt(name, recipe)
            try:
                return await until_ready(part_of(name), self.part(name).address, handle, recipe.log)
            except Died:
                # A killed postmaster's shared memory outlives it for a moment, and the first start may fail on it.
                if name != "postgres" or "shared memory" not in tail(recipe.log) or _clock.now_ns() > retry_until_ns:
                    raise
            await asyncio.sleep(0.05)

    def _spawn_or_adopt(self, name: str, recipe: spawn.Recipe) -> spawn.Handle:
        found = self.handle(name)
        if found and spawn.alive(found):
            spawn.signal_tree(found, signal.SIGCONT)
            return found
        spawn.reap()
        # Somebody may have been killed between starting it and writing that down.
        strays = sorted(spawn.marked(self.record.marker, name), key=lambda process: process.started)
        if strays:
            handle = strays[0]
        else:
            for port in self.part(name).owns:
                if who := sockets.taken_by(port):
                    raise ports.PortTaken(
                        f"{name}: port {port} is in use by {who}", remedy="end it, or use another port"
                    )
            part_of(name).clear(Path(recipe.cwd))
            handle = spawn.start(recipe, self.record.marker)
        self.record = records.load(self.folder).with_handle(name, handle)
        records.save(self.folder, self.record)
        return handle

    async def stop_part(self, name: str, *, kill: bool = False) -> int:
        """End a part's processes: in good order, or by SIGKILL. Gives the time at which they were gone, in ns."""
        self._recipe(name)
        found = self.handle(name)
        if found is not None:
            await asyncio.to_thread(spawn.end, found, 0.0 if kill else STOP_S, part_of(name).stop)
            if spawn.alive(found):
                raise StackError(f"{name} (process {found.pid}) does not end, not even by SIGKILL")
        return _clock.now_ns()

    async def pause_part(self, name: str) -> None:
        """SIGSTOP all processes of a part, and wait until they are stopped. Raises StackError when it does not run."""
        found = self._running(name)
        async with asyncio.timeout(_ALL_STOPPED_S):
            # The parent first, so that it starts no more children; those started meanwhile are met in the next round.
            while any(spawn.state(process) not in ("T", "") for process in spawn.tree(found)):
                spawn.signal_tree(found, signal.SIGSTOP)
                await asyncio.sleep(0.002)

    async def resume_part(self, name: str) -> None:
        """SIGCONT all processes of a part. One that was not paused is fine."""
        spawn.signal_tree(self._running(name), signal.SIGCONT)

    def _running(self, name: str) -> spawn.Handle:
        self._recipe(name)
        found = self.handle(name)
        if found is None or not spawn.alive(found):
            raise StackError(f"{name} does not run", remedy="chaosd stack status")
        return found

    async def repopulate(self) -> None:
        """Make all proxies be there and enabled. Toxics of a proxy that was as it should be are left alone."""
        await self.toxiproxy.populate(self.record.proxies)

    async def ready(self, name: str) -> str:
        """Probe a part once on its DIRECT address; gives the version it tells. Raises what a Part's `ready` raises."""
        return await part_of(name).ready(self.part(name).address)

    async def usage(self) -> dict[str, Usage]:
        """The memory of each part that runs."""
        self.record = records.load(self.folder)
        handles = {name: part.handle for name, part in self.record.parts.items() if part.handle is not None}
        return await asyncio.to_thread(lambda: {name: _usage(handle) for name, handle in handles.items()})


def _usage(handle: spawn.Handle) -> Usage:
    """Source: smaps_rollup in proc(5)."""
    pss_kb = rss_kb = processes = 0
    for process in spawn.tree(handle):
        with suppress(OSError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            values = {words[0]: int(words[1]) for line in lines[1:] if len(words := line.split()) == 3}
            pss_kb += values.get("Pss:", 0)
            rss_kb += values.get("Rss:", 0)
            processes += 1
    return Usage(pss_kb, rss_kb, processes)
