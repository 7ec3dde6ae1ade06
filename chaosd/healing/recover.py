"""What `chaosd heal` and a starting chaosd do: undo what nobody answers for any more, end testbeds without an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chaosd.healing import ladder
from chaosd.healing.lease import Lease
from chaosd.healing.leases import Leases
from chaosd.healing.redeem import redeem
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import HealError, StackError
from chaosd.process import spawn
from chaosd.process.places import testbeds_dir
from chaosd.stack.handle import RECORD
from chaosd.testbed import record as records
from chaosd.testbed.testbed import tear_down

# A folder gets its record within milliseconds of being made, and loses it last.
_MADE_WITHIN_NS = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that was mended, or could not be."""

    what: str
    ok: bool
    error: str = ""


def _mute(what: str) -> None:
    """Nobody wants to know."""


async def recover(*, force: bool = False, begins: Callable[[str], None] = _mute) -> list[Done]:
    """Undo open leases whose holder is gone (all of them with `force`), then end testbeds that nobody owns or keeps.

    Safe beside runs, watchdogs and itself: what somebody else mended meanwhile is mended. `begins` is called with what
    is undone, before it is.
    """
    leases = Leases()
    orphaned = {directory: records.servers_end_with(directory) for directory in orphans()}
    try:
        abandoned = [lease for lease in leases.all() if force or not lease.held()]
        damaged = leases.unreadable()
        leases.sweep()
    except HealError as error:
        # Testbeds are ended all the same: whatever was broken in them goes with them.
        abandoned, damaged, unread = [], [], [Done("open leases", ok=False, error=str(error))]
    else:
        unread = []
    async with asyncio.TaskGroup() as group:
        undoing = [
            group.create_task(
                _undo(leases, lease, begins, doomed=orphaned.get(Path(lease.testbed), False)), name=lease.id
            )
            for lease in abandoned
        ]
    done = [*unread, *(task.result() for task in undoing)]
    for directory, own in sorted(orphaned.items()):
        # On servers of others what is broken outlives the testbed: its folder is needed until that is undone.
        if own or not (unread or leases.on(directory)):
            done.append(await _end(directory))
    done += [Done(f"testbed {directory.name}", ok=False, error=str(error)) for directory, error in _unread()]
    for path in damaged:
        # Somebody broke something and nobody can tell what: only a person may decide that it is mended.
        why = f"{path} is damaged or of another version; see to the stack, then remove it"
        done.append(Done("a lease that cannot be read", ok=False, error=why))
    return done


async def _undo(leases: Leases, lease: Lease, begins: Callable[[str], None], *, doomed: bool) -> Done:
    what = f"{lease.fault} on {lease.on} (run {lease.run_id})"
    try:
        if doomed and ladder.starts_something(lease):
            leases.close(lease)
            return Done(f"{what}: its testbed is ended", ok=True)
        begins(what)
        cleared = await redeem(leases, lease)
    except HealError as error:
        return Done(what, ok=False, error=str(error))
    return Done(f"{what}: {cleared.evidence.get('by', 'undone')}", ok=True)


async def _end(directory: Path) -> Done:
    for once_more in (True, False):
        try:
            await tear_down(directory)
            break
        except Exception as error:  # noqa: BLE001 - one that cannot be ended must not keep the others up
            # Its watchdog may have removed its files under our hands; then the marker finds what is left.
            if not once_more or directory.exists():
                return Done(f"testbed {directory.name}", ok=False, error=str(error) or type(error).__name__)
    return Done(f"testbed {directory.name} ended", ok=True)


def orphans() -> Iterator[Path]:
    """Testbeds that nobody keeps and whose owner is gone."""
    folder = testbeds_dir()
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            record = records.load(directory)
        except StackError:
            if _forsaken(directory):
                yield directory
            continue
        owned = record.owner is not None and spawn.works(record.owner)
        if not owned and (not record.kept or record.owner is not None):
            yield directory


def _unread() -> Iterator[tuple[Path, StackError]]:
    """Testbeds whose record is there and cannot be read: nobody can tell whose they are."""
    folder = testbeds_dir()
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            records.load(directory)
        except StackError as error:
            if (directory / records.FILE).exists():
                yield directory, error


def _forsaken(directory: Path) -> bool:
    """Whether a folder without a testbed's record was left by one who was killed while he made or removed it."""
    try:
        made_ns = directory.stat().st_mtime_ns
        known = any((directory / name).exists() for name in (RECORD, records.FILE))
        return directory.is_dir() and not known and SystemClock().wall_ns() - made_ns > _MADE_WITHIN_NS
    except OSError:
        return False
