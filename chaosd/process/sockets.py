"""Who listens on a TCP port of this machine. Source: /proc/net/tcp, proc_net_tcp in the kernel's documentation."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from chaosd.process import spawn

_LISTEN = "0A"


def listening(port: int) -> set[str]:
    """The socket inodes that listen on a TCP port, IPv4 and IPv6 (Java listens on v6-mapped addresses)."""
    wanted = f":{port:04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if words[3] == _LISTEN and words[1].endswith(wanted):
                    inodes.add(words[9])
    return inodes


def holds(process: spawn.Handle, inodes: set[str]) -> bool:
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
            command = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            return f"process {entry} ({Path(command).name})"
    return "a process of another user"
