"""Who listens on a TCP port of this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from chaosd.process import spawn, tcp


def listening(port: int) -> set[int]:
    """The socket inodes that listen on a TCP port, IPv4 and IPv6 (Java listens on v6-mapped addresses)."""
    return {one.inode for one in tcp.sockets(tcp.State.LISTEN) if one.local_port == port}


def holds(process: spawn.Handle, inodes: set[int]) -> bool:
    """Whether one of the process's open files is one of these sockets."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    folder = f"/proc/{process.pid}/fd"
    with contextlib.suppress(OSError):
        for fd in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{fd}") in wanted:
                    return True
    return False


def owns(process: spawn.Handle, port: int) -> bool:
    """Whether this very process listens on the port. A foreign server on it would fool a probe."""
    return spawn.alive(process) and holds(process, listening(port))


def taken_by(port: int) -> str:
    """Who listens on a port, in words; empty when nobody does."""
    inodes = listening(port)
    if not inodes:
        return ""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (handle := spawn.handle_of(int(entry))) and holds(handle, inodes):
            with contextlib.suppress(OSError):  # it may go meanwhile
                command = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                return f"process {entry} ({Path(command).name})"
    return "a process of another user"
