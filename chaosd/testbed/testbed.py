"""A testbed: opened new by one process, rebuilt from its directory by any other (the watchdog, `chaosd heal`)."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from chaosd.kernel import names
from chaosd.kernel.clock import Clock, SystemClock
from chaosd.kernel.errors import StackError, UsageError
from chaosd.process import gate, spawn
from chaosd.process.places import testbeds_dir
from chaosd.process.spawn import Handle
from chaosd.stack.ports import Ports
from chaosd.stack.provider import Provider
from chaosd.stack.ready import Started
from chaosd.stack.stack import Stack
from chaosd.target import launch, ready
from chaosd.target.pipeline import processes, written
from chaosd.testbed import record as records
from chaosd.testbed import topics
from chaosd.testbed.record import Record, Topic

if TYPE_CHECKING:
    from chaosd.experiment.target import Pipeline

TARGET = "target"
PARTS = ("redis", "postgres", "kafka")
PROCESSES = (*PARTS, "toxiproxy", TARGET)
KAFKA = "kafka"
_PARTITIONS = 4
_TARGET_GRACE_S = 2.0
# In a record's `extra`: the section of an external stack, the brokers of an embedded one (one where nothing is said).
SECTION = "stack"
BROKERS = "brokers"
# And of a target file's pipeline: its digest, that of its sources, and the consumer groups of its topics.
PIPELINE = "pipeline"
SOURCES = "sources"
GROUPS = "groups"
NO_PROCESS = Handle(0, 0)

Progress = Callable[[str, float], None]


def announce(
    name: str, *, provider: str, kept: bool, owner: Handle | None = None, extra: dict[str, Any] | None = None
) -> Path:
    """Make the directory of a testbed that is about to be, so that a watchdog can guard it before its first part.

    `extra` is what its provider needs to know (`SECTION`, `BROKERS`). Raises UsageError when a testbed of this
    name is already there, or when none can be kept where state is.
    """
    directory = testbeds_dir() / name
    try:
        directory.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(
            f"there is already a testbed {name}", remedy=f"`chaosd stack down {name}` ends it; or choose another name"
        ) from error
    except OSError as error:
        raise UsageError(
            f"a testbed cannot be kept in {directory.parent}: {error.strerror}",
            remedy="name another folder in CHAOSD_STATE",
        ) from error
    # The folder itself is the mark: processes of a testbed whose record was lost are found by it all the same.
    record = Record(name=name, marker=str(directory), provider=provider, kept=kept, owner=owner, extra=extra or {})
    records.save(directory, record)
    return directory


class Testbed:
    """Stack + proxies + target + topics. All its state is on disk: another process may change it meanwhile."""

    __test__ = False  # pytest takes every class called Test… for its own

    def __init__(self, directory: Path, stack: Stack, clock: Clock) -> None:
        self.directory = directory
        self.stack = stack
        self._clock = clock

    @classmethod
    async def up(
        cls,
        directory: Path,
        on_progress: Progress | None = None,
        clock: Clock | None = None,
        ports: Ports | None = None,
    ) -> Testbed:
        """Start the stack of an announced testbed, `ports` None on free ones. On failure nothing of it is left."""
        record = records.load(directory)
        stack = await _provider(record).up(directory, record.marker, ports, on_progress)
        return cls(directory, stack, clock or SystemClock())

    @classmethod
    async def open(cls, directory: Path, clock: Clock | None = None) -> Testbed:
        """Rebuild a testbed from its directory. Raises StackError when there is none."""
        return cls(directory, Stack.open(directory), clock or SystemClock())

    @property
    def record(self) -> Record:
        """What the testbed is, read anew: the watchdog may have started a process meanwhile."""
        return records.load(self.directory)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts in the order that rows of the journal index: `PARTS`, with every broker of a cluster."""
        known = self.stack.record.parts
        return tuple(name for part in PARTS for name in names.members(known, part) or (part,))

    @property
    def processes(self) -> tuple[str, ...]:
        """The processes in the order that rows of the journal index: `PROCESSES`, each of several by its own name."""
        target = tuple(replica.name for replica in self.record.replicas) or (TARGET,)
        return (*self.parts, "toxiproxy", *target)

    def members(self, on: str) -> tuple[str, ...]:
        """The processes that a name stands for: itself, or all of its kind. Raises StackError where there is none."""
        found = names.members(self.processes, on)
        if not found:
            raise StackError(f"there is no {on} in this testbed", remedy=f"one of: {', '.join(self.processes)}")
        return found

    async def deploy(self, target: str, replicas: int = 1) -> Record:
        """Make fresh topics and start the target; does not wait until it is ready (`target_ready`)."""
        tag = secrets.token_hex(3)
        made = (
            Topic(f"ticks-{tag}", "input", _PARTITIONS),
            Topic(f"signals-{tag}", "output", _PARTITIONS),
            Topic(f"dlq-{tag}", "dlq", 1),
        )
        # Written down before they are made: on a stack that stays, tear_down must know what to delete.
        # A target file's that was cut off before its processes were started is forgotten.
        records.save(self.directory, replace(self.record, topics=made, extra=_plain(self.record)))
        await topics.create(self._bootstrap, made, copies=len(names.members(self.parts, KAFKA)))
        group = f"{target}-{tag}"
        several = names.numbered(TARGET, range(replicas)) if replicas > 1 else (TARGET,)
        made_of = tuple(
            records.Replica(
                name,
                launch.recipe(
                    target,
                    self.stack.endpoints,
                    {topic.role: topic.name for topic in made},
                    group=group,
                    instance=f"{group}-{number}",
                    log=self.directory / f"{names.plain(name)}.log",
                ),
            )
            for number, name in enumerate(several)
        )
        return await self._start(replace(self.record, target=target, group=group, topics=made, replicas=made_of))

    async def deploy_pipeline(self, pipeline: Pipeline) -> Record:
        """Make the topics of a target file and start its processes; does not wait until they are ready.

        A topic that is there already stays when the target ends: it is somebody's. Raises StackError, and UsageError
        for a program that is not there.
        """
        planned = processes(pipeline, self.stack.endpoints.proxied, self.directory)
        wanted = tuple(Topic(one.name, one.role, one.partitions) for one in pipeline.channels)
        there = await topics.existing(self._bootstrap, [one.name for one in wanted])
        compacted = await topics.compacted(self._bootstrap, sorted(there))
        made = tuple(replace(one, ours=one.name not in there, compacted=one.name in compacted) for one in wanted)
        await topics.check_partitions(self._bootstrap, [one for one in made if not one.ours])
        groups = [one.group for one in pipeline.channels if one.group]
        told = {**self.record.extra, PIPELINE: pipeline.digest, SOURCES: written(pipeline, planned), GROUPS: groups}
        records.save(self.directory, replace(self.record, topics=made, extra=told))
        ours = [one for one in made if one.ours]
        await topics.create(self._bootstrap, ours, copies=len(names.members(self.parts, KAFKA)))
        replicas = tuple(
            records.Replica(one.name, one.recipe, ready=one.ready, restart_ns=one.restart_ns) for one in planned
        )
        group = pipeline.inputs[0].group
        return await self._start(replace(self.record, target=pipeline.name, group=group, replicas=replicas))

    def holds(self, pipeline: Pipeline) -> bool:
        """Whether what was started here is what a start of this pipeline would give now.

        Not where its file, an environment that it takes from its starter, or its source was changed since.
        """
        told, recipes = self.record.extra, [one.recipe for one in self.record.replicas]
        now = processes(pipeline, self.stack.endpoints.proxied, self.directory)
        same = (told.get(PIPELINE), told.get(SOURCES)) == (pipeline.digest, written(pipeline, now))
        return same and [one.recipe for one in now] == recipes

    async def _start(self, record: Record) -> Record:
        """Write the target down and start its processes."""
        records.save(self.directory, record)
        async with gate.starting(self.directory):
            for replica in record.replicas:
                # Written down one by one: a start that is cut off leaves no process that nobody knows.
                log_from = _log_ends(replica)
                handle = spawn.start(replica.recipe, record.marker)
                record = record.with_handle(replica.name, handle, log_from)
                records.save(self.directory, record)
        return record

    async def target_ready(self) -> Started:
        """Wait until every replica of the target serves and its group is stable with all of them.

        Gives the first replica's process. Raises StackError with its log's end when it does not get there.
        """
        record = self.record
        if record.extra.get(PIPELINE):
            return await self._pipeline_ready(record)
        if not record.replicas:
            raise StackError("the testbed has no target")
        started = [await self._replica_ready(one.name, members=len(record.replicas)) for one in record.replicas]
        return replace(
            started[0],
            ready_low_ns=max(one.ready_low_ns for one in started),
            ready_ns=max(one.ready_ns for one in started),
        )

    async def _pipeline_ready(self, record: Record) -> Started:
        """The same for a target file's: each process by its own word, then all groups. NO_PROCESS where none is."""
        started = [await self._replica_ready(one.name) for one in record.replicas]
        low_ns, ready_ns = await ready.groups_stable(tuple(record.extra.get(GROUPS, ())), self._bootstrap)
        handle = started[0].handle if started else NO_PROCESS
        return Started(ready_low_ns=low_ns, ready_ns=ready_ns, handle=handle, version="")

    async def _replica_ready(self, name: str, *, members: int = 1) -> Started:
        record = self.record
        replica = record.replica(name)
        if replica is None or replica.handle is None:
            raise StackError(f"the testbed has no {name}")
        if replica.ready is not None:
            log = Path(replica.recipe.log)
            low_ns, ready_ns = await ready.wait(replica.handle, log, replica.log_from, replica.ready, self._bootstrap)
        else:
            low_ns, ready_ns = await launch.wait_ready(
                replica.handle, replica.recipe, self._bootstrap, record.group, members=members
            )
        return Started(ready_low_ns=low_ns, ready_ns=ready_ns, handle=replica.handle, version="")

    @property
    def _bootstrap(self) -> str:
        return self.stack.endpoints.direct.bootstrap

    def handle(self, process: str) -> Handle | None:
        """The process behind a part or a replica of the target; None where chaosd did not start it."""
        if names.kind(process) != TARGET:
            return self.stack.handle(process)
        replica = self.record.replica(process)
        return replica.handle if replica is not None else None

    def signal(self, process: str, sig: Signals) -> bool:
        """Signal a part or a replica of the target with all its descendants; False when it is gone."""
        handle = self.handle(process)
        return handle is not None and spawn.signal_tree(handle, sig) > 0

    async def start(self, process: str) -> Started:
        """Start a part or a replica of the target again when it is not running, and wait until it serves."""
        if names.kind(process) != TARGET:
            return await self.stack.start_part(process)
        # Others may be mending it as well: one of us starts it, the others find it running.
        async with gate.starting(self.directory):
            record = self.record
            replica = record.replica(process)
            if replica is None:
                raise StackError(f"the testbed has no {process}")
            if replica.handle is None or not spawn.alive(replica.handle):
                log_from = _log_ends(replica)
                handle = _started(replica.recipe, record.marker)
                records.save(self.directory, record.with_handle(process, handle, log_from))
        return await self._replica_ready(process)

    def keep(self, key: str, value: Any) -> None:
        """Write something down that a later run on this testbed may use; JSON values only."""
        record = self.record
        records.save(self.directory, replace(record, extra={**record.extra, key: value}))

    async def end_target(self) -> None:
        """End the target and forget its topics."""
        record = self.record
        await _end_replicas(record, _TARGET_GRACE_S)
        if ours := [topic.name for topic in record.topics if topic.ours]:
            await topics.delete(self._bootstrap, ours)
        gone = replace(record, target="", group="", topics=(), replicas=(), extra=_plain(record))
        records.save(self.directory, gone)

    async def down(self) -> None:
        """End the target and, with an own stack, every process of it; remove the directory."""
        await tear_down(self.directory)


async def _end_replicas(record: Record, grace_s: float) -> None:
    async with asyncio.TaskGroup() as group:
        for replica in record.replicas:
            if replica.handle is not None:
                group.create_task(asyncio.to_thread(spawn.end, replica.handle, grace_s))


def _plain(record: Record) -> dict[str, Any]:
    """A record's `extra` without what a target file's pipeline keeps there."""
    return {key: value for key, value in record.extra.items() if key not in (PIPELINE, SOURCES, GROUPS)}


def _log_ends(replica: records.Replica) -> int:
    """How much its log holds of earlier processes."""
    log = Path(replica.recipe.log)
    return log.stat().st_size if log.exists() else 0


def _started(recipe: spawn.Recipe, marker: str) -> Handle:
    """The process of a recipe: one that runs, where somebody was killed between starting it and writing that down."""
    strays = spawn.marked(marker, recipe.env.get(spawn.PART))
    return min(strays, key=lambda stray: stray.started) if strays else spawn.start(recipe, marker)


def _provider(record: Record) -> Provider:
    # Each with what it alone needs: `chaosd heal` must begin within a second.
    if record.provider == "embedded":
        from chaosd.stack.providers.embedded import EmbeddedProvider  # noqa: PLC0415

        return EmbeddedProvider(brokers=int(record.extra.get(BROKERS, 1)))
    from chaosd.stack.providers.external import COMPOSE, ExternalProvider  # noqa: PLC0415
    from chaosd.stack.providers.section import parse, places  # noqa: PLC0415

    section = record.extra.get(SECTION)
    return ExternalProvider(places(parse(section, str(records.FILE))) if section else COMPOSE)


async def tear_down(directory: Path) -> None:
    """End whatever belongs to the testbed in `directory`, however far it came, and remove it. Idempotent.

    Of servers that others run only what chaosd made is removed: its topics and proxies. Raises StackError when these
    servers do not let it; the directory stays then, for another try.
    """
    await gate.shut(directory)
    try:
        record = records.load(directory)
    except StackError:
        stack = _stack_in(directory)
        await asyncio.to_thread(spawn.end_marked, stack.record.marker if stack is not None else str(directory))
        shutil.rmtree(directory, ignore_errors=True)
        return
    await _end_replicas(record, 0.0)
    stack = _stack_in(directory)
    if stack is not None:
        await _leave(record, stack)
        await _provider(record).down(stack)
    await asyncio.to_thread(spawn.end_marked, record.marker)
    shutil.rmtree(directory, ignore_errors=True)
    spawn.reap()


def _stack_in(directory: Path) -> Stack | None:
    """The stack in a directory; None where there was none yet, or its record is damaged."""
    try:
        return Stack.open(directory)
    except StackError:
        return None


async def _leave(record: Record, stack: Stack) -> None:
    """Delete the run's topics on a broker that stays; one that chaosd started goes with them."""
    ours = [topic.name for topic in record.topics if topic.ours]
    if "restart" in stack.capabilities or not ours:
        return
    try:
        await topics.delete(stack.endpoints.direct.bootstrap, ours)
    except StackError as error:
        raise StackError(
            f"the topics of testbed {record.name} cannot be deleted: {error.message}",
            remedy=f"`chaosd heal` tries it again; if these servers are gone for good, remove {stack.folder}",
        ) from error


def owner_of_this_process() -> Handle:
    """The handle of the calling process."""
    handle = spawn.handle_of(os.getpid())
    if handle is None:
        raise RuntimeError("this process has no entry in /proc")
    return handle
