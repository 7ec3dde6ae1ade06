"""What `chaosd heal` and a starting chaosd do: undo what nobody answers for any more, end testbeds without an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaosd.healing import ladder
from chaosd.healing.lease import Lease
from chaosd.healing.leases import Leases
from chaosd.kernel.errors import ChaosdError, StackError
from chaosd.process import spawn
from chaosd.process.places import testbeds_dir
from chaosd.testbed import record as records
from chaosd.testbed.testbed import tear_down


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that was mended, or could not be."""

    what: str
    ok: bool
    error: str = ""


async def recover(*, force: bool = False) -> list[Done]:
    """Undo open leases whose holder is gone (all of them with `force`), then end testbeds that nobody owns or keeps."""
    leases = Leases()
    orphaned = set(orphans())
    abandoned = [lease for lease in leases.all() if force or not lease.held()]
    async with asyncio.TaskGroup() as group:
        undoing = [
            group.create_task(_undo(leases, lease, doomed=Path(lease.testbed) in orphaned), name=lease.id)
            for lease in abandoned
        ]
    done = [task.result() for task in undoing]
    for directory in sorted(orphaned):
        try:
            await tear_down(directory)
            done.append(Done(f"testbed {directory.name} ended", ok=True))
        except Exception as error:  # noqa: BLE001 - one that cannot be ended must not keep the others up
            done.append(Done(f"testbed {directory.name}", ok=False, error=str(error) or type(error).__name__))
    for path in leases.unreadable():
        # Somebody broke something and nobody can tell what: only a person may decide that it is mended.
        why = f"{path} is damaged or of another version; see to the stack, then remove it"
        done.append(Done("a lease that cannot be read", ok=False, error=why))
    return done


async def _undo(leases: Leases, lease: Lease, *, doomed: bool) -> Done:
    what = f"{lease.fault} on {lease.on} (run {lease.run_id})"
    if doomed and ladder.starts_something(lease):
        leases.close(lease)
        return Done(f"{what}: its testbed is ended", ok=True)
    try:
        cleared = await ladder.undo_from_disk(lease)
    except (ChaosdError, OSError) as error:
        return Done(what, ok=False, error=str(error))
    leases.close(lease)
    return Done(f"{what}: {cleared.evidence.get('by', 'undone')}", ok=True)


def orphans() -> Iterator[Path]:
    """Testbeds that nobody keeps and whose owner is gone."""
    folder = testbeds_dir()
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            record = records.load(directory)
        except StackError:
            continue
        owned = record.owner is not None and spawn.alive(record.owner)
        if not owned and (not record.kept or record.owner is not None):
            yield directory
