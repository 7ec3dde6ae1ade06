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
from typing import Any

from aiokafka.errors import KafkaError

from chaosd.kernel.clock import Clock, SystemClock
from chaosd.kernel.errors import StackError, UsageError
from chaosd.process import spawn
from chaosd.process.places import testbeds_dir
from chaosd.process.spawn import Handle
from chaosd.stack.ports import Ports
from chaosd.stack.provider import Provider
from chaosd.stack.providers.embedded import EmbeddedProvider
from chaosd.stack.providers.external import COMPOSE, ExternalProvider
from chaosd.stack.providers.section import parse, places
from chaosd.stack.ready import Started
from chaosd.stack.stack import Stack
from chaosd.target import launch
from chaosd.testbed import record as records
from chaosd.testbed import topics
from chaosd.testbed.record import Record, Topic

TARGET = "target"
PARTS = ("redis", "postgres", "kafka")
PROCESSES = (*PARTS, "toxiproxy", TARGET)
_PARTITIONS = 4
_TARGET_GRACE_S = 2.0
SECTION = "stack"  # in a record's `extra`: the section of an external stack

Progress = Callable[[str, float], None]


def announce(
    name: str, *, provider: str, kept: bool, owner: Handle | None = None, extra: dict[str, Any] | None = None
) -> Path:
    """Make the directory of a testbed that is about to be, so that a watchdog can guard it before its first part.

    `extra` is what its provider needs to know (an external stack's section). Raises UsageError when a testbed of this
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

    async def deploy(self, target: str) -> Record:
        """Make fresh topics and start the target; does not wait until it is ready (`target_ready`)."""
        tag = secrets.token_hex(3)
        made = (
            Topic(f"ticks-{tag}", "input", _PARTITIONS),
            Topic(f"signals-{tag}", "output", _PARTITIONS),
            Topic(f"dlq-{tag}", "dlq", 1),
        )
        # Written down before they are made: on a stack that stays, tear_down must know what to delete.
        records.save(self.directory, replace(self.record, topics=made))
        await topics.create(str(self.stack.endpoints.direct.kafka), made)
        group = f"{target}-{tag}"
        recipe = launch.recipe(
            target,
            self.stack.endpoints,
            {topic.role: topic.name for topic in made},
            group=group,
            instance=f"{group}-0",
            log=self.directory / "target.log",
        )
        record = replace(self.record, target=target, group=group, topics=made, recipe=recipe)
        handle = spawn.start(recipe, record.marker)
        record = record.with_target(handle)
        records.save(self.directory, record)
        return record

    async def target_ready(self) -> Started:
        """Wait until the target's group is stable; StackError with its log's end when it does not get there."""
        record = self.record
        if record.handle is None or record.recipe is None:
            raise StackError("the testbed has no target")
        low_ns, ready_ns = await launch.wait_ready(
            record.handle, record.recipe, str(self.stack.endpoints.direct.kafka), record.group
        )
        return Started(ready_low_ns=low_ns, ready_ns=ready_ns, handle=record.handle, version="")

    def handle(self, process: str) -> Handle | None:
        """The process behind a part or the target; None where chaosd did not start it."""
        return self.record.handle if process == TARGET else self.stack.handle(process)

    def signal(self, process: str, sig: Signals) -> bool:
        """Signal a part or the target with all its descendants; False when it is gone."""
        handle = self.handle(process)
        return handle is not None and spawn.signal_tree(handle, sig) > 0

    async def start(self, process: str) -> Started:
        """Start a part or the target again when it is not running, and wait until it serves."""
        if process != TARGET:
            return await self.stack.start_part(process)
        record = self.record
        if record.recipe is None:
            raise StackError("the testbed has no target")
        if record.handle is None or not spawn.alive(record.handle):
            records.save(self.directory, record.with_target(spawn.start(record.recipe, record.marker)))
        return await self.target_ready()

    def keep(self, key: str, value: Any) -> None:
        """Write something down that a later run on this testbed may use; JSON values only."""
        record = self.record
        records.save(self.directory, replace(record, extra={**record.extra, key: value}))

    async def end_target(self) -> None:
        """End the target and forget its topics."""
        record = self.record
        if record.handle is not None:
            await asyncio.to_thread(spawn.end, record.handle, _TARGET_GRACE_S)
        if record.topics:
            await topics.delete(str(self.stack.endpoints.direct.kafka), [topic.name for topic in record.topics])
        records.save(self.directory, replace(record, target="", group="", topics=(), recipe=None, handle=None))

    async def down(self) -> None:
        """End the target and, with an own stack, every process of it; remove the directory."""
        await tear_down(self.directory)


def _provider(record: Record) -> Provider:
    if record.provider == "embedded":
        return EmbeddedProvider()
    section = record.extra.get(SECTION)
    return ExternalProvider(places(parse(section, str(records.FILE))) if section else COMPOSE)


async def tear_down(directory: Path) -> None:
    """End whatever belongs to the testbed in `directory`, however far it came, and remove it. Idempotent.

    Of servers that others run only what chaosd made is removed: its topics and proxies. Raises StackError when these
    servers do not let it; the directory stays then, for another try.
    """
    try:
        record = records.load(directory)
    except StackError:
        stack = _stack_in(directory)
        await asyncio.to_thread(spawn.end_marked, stack.record.marker if stack is not None else str(directory))
        shutil.rmtree(directory, ignore_errors=True)
        return
    if record.handle is not None:
        await asyncio.to_thread(spawn.end, record.handle, 0.0)
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
    if "restart" in stack.capabilities or not record.topics:
        return
    try:
        await topics.delete(str(stack.endpoints.direct.kafka), [topic.name for topic in record.topics])
    except (KafkaError, OSError, TimeoutError) as error:
        raise StackError(
            f"the topics of testbed {record.name} cannot be deleted: {error}",
            remedy=f"`chaosd heal` tries it again; if these servers are gone for good, remove {stack.folder}",
        ) from error


def owner_of_this_process() -> Handle:
    """The handle of the calling process."""
    handle = spawn.handle_of(os.getpid())
    if handle is None:
        raise RuntimeError("this process has no entry in /proc")
    return handle
