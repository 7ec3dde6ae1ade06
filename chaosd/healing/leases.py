"""The folder of open leases: one file each, on the disk before the act, removed after the undo."""

from __future__ import annotations

import json
import os
from pathlib import Path

from chaosd.healing.lease import Lease
from chaosd.kernel.errors import HealError
from chaosd.process.places import state_dir

_SUFFIX = ".json"


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Leases:
    """All open leases of this user. Any process may read them; each is written once and removed once."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_dir() / "leases"

    def open(self, lease: Lease) -> None:
        """Write a lease. It is on the disk, file and name, when this returns. Raises HealError when it cannot be."""
        place = self.folder / f"{lease.id}{_SUFFIX}"
        scratch = place.with_suffix(".tmp")
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
        """The injection is undone. A lease that somebody else closed meanwhile is fine."""
        (self.folder / f"{lease.id}{_SUFFIX}").unlink(missing_ok=True)
        if self.folder.exists():
            _sync(self.folder)

    def all(self) -> list[Lease]:
        """The open leases that can be read, oldest deadline first."""
        return sorted((lease for lease, _ in self._read() if lease), key=lambda lease: lease.deadline_wall_ns)

    def unreadable(self) -> list[Path]:
        """Files that should be leases and are not: of another version, or damaged."""
        return [path for lease, path in self._read() if lease is None]

    def of_run(self, run_id: str) -> list[Lease]:
        """The open leases of one run."""
        return [lease for lease in self.all() if lease.run_id == run_id]

    def close_all_on(self, testbed: Path) -> None:
        """A testbed of chaosd's own processes has ended, and with it whatever was broken there."""
        for lease in self.all():
            if lease.testbed == str(testbed):
                self.close(lease)

    def _read(self) -> list[tuple[Lease | None, Path]]:
        found: list[tuple[Lease | None, Path]] = []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
                found.append((Lease.from_json(data) if isinstance(data, dict) else None, path))
            except FileNotFoundError:
                continue  # closed by somebody else between the listing and the reading
            except (OSError, ValueError):
                found.append((None, path))
        return found
