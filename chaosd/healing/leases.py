"""The folder of open leases: one file each, on the disk before the act, removed after the undo."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from chaosd.healing.lease import Lease
from chaosd.kernel.errors import HealError
from chaosd.process import spawn
from chaosd.process.places import state_dir
from chaosd.process.spawn import Handle

_SUFFIX = ".json"
# `<lease>.<pid>-<start time>.tmp`: a lease that is being written, by whom. Nothing is broken before it has its name.
_SCRATCH = re.compile(r".*\.(\d+)-(\d+)\.tmp")


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Leases:
    """All open leases of this user. Any process may read them; each is written once and removed once.

    A holder may write its own again, with a later deadline.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_dir() / "leases"

    def open(self, lease: Lease) -> None:
        """Write a lease. It is on the disk, file and name, when this returns. Raises HealError when it cannot be."""
        place = self.folder / f"{lease.id}{_SUFFIX}"
        scratch = place.with_suffix(f".{lease.holder_pid}-{lease.holder_started}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with scratch.open("w", encoding="utf-8") as out:
                json.dump(lease.to_json(), out, indent=1)
                out.flush()
                os.fsync(out.fileno())
            scratch.rename(place)
            _sync(self.folder)
        except OSError as error:
            raise HealError(
                f"the lease of {lease.injection} cannot be written to {place}: {error.strerror}; nothing was broken",
                remedy="make room on that disk, or set CHAOSD_STATE to a folder that can be written",
            ) from error

    def close(self, lease: Lease) -> None:
        """The injection is undone. A lease that somebody else closed meanwhile is fine.

        Raises HealError when it cannot be removed: it will be undone once more, which does no harm.
        """
        place = self.folder / f"{lease.id}{_SUFFIX}"
        try:
            place.unlink(missing_ok=True)
            if self.folder.exists():
                _sync(self.folder)
        except OSError as error:
            raise HealError(
                f"{lease.fault} on {lease.on} is undone, but its lease {place} cannot be removed: {error.strerror}",
                remedy="remove the file, or let `chaosd heal` do it once it can be written",
            ) from error

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still open."""
        return (self.folder / f"{lease.id}{_SUFFIX}").exists()

    def sweep(self) -> None:
        """Remove what those left who were killed while they wrote a lease."""
        for name in self._names():
            who = _SCRATCH.fullmatch(name)
            if who and not spawn.alive(Handle(int(who[1]), int(who[2]))):
                (self.folder / name).unlink(missing_ok=True)

    def all(self) -> list[Lease]:
        """The open leases that can be read, oldest deadline first. Raises HealError when nobody can tell which."""
        return sorted((lease for lease, _ in self._read() if lease), key=lambda lease: lease.deadline_wall_ns)

    def unreadable(self) -> list[Path]:
        """Files that should be leases and are not: of another version, or damaged."""
        return [path for lease, path in self._read() if lease is None]

    def of_run(self, run_id: str) -> list[Lease]:
        """The open leases of one run."""
        return [lease for lease in self.all() if lease.run_id == run_id]

    def on(self, testbed: Path) -> list[Lease]:
        """What is broken on one testbed."""
        return [lease for lease in self.all() if lease.testbed == str(testbed)]

    def close_all_on(self, testbed: Path) -> None:
        """A testbed of chaosd's own processes has ended, and with it whatever was broken there."""
        for lease in self.on(testbed):
            self.close(lease)

    def _read(self) -> list[tuple[Lease | None, Path]]:
        found: list[tuple[Lease | None, Path]] = []
        for path in (self.folder / name for name in self._names() if name.endswith(_SUFFIX)):
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
                found.append((Lease.from_json(data) if isinstance(data, dict) else None, path))
            except FileNotFoundError:
                continue  # closed by somebody else between the listing and the reading
            except (OSError, ValueError):
                found.append((None, path))
        return found

    def _names(self) -> list[str]:
        """What is in the folder; a folder that is not there yet holds nothing."""
        try:
            return sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HealError(
                f"nobody can tell what is broken: {self.folder} cannot be read: {error.strerror}",
                remedy="make it readable, or move it away once nothing is broken any more",
            ) from error
