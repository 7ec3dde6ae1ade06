"""Another identity for a child of root: PostgreSQL refuses to run as root.

A user namespace is preferred: inside it the child is uid 65534, outside it is still root, so that no folder has to
become readable for somebody else. Where the kernel forbids it, the child becomes the user `nobody`.
Protocol: user_namespaces(7); a process may write its own one-line maps after unshare(CLONE_NEWUSER), and gid_map only
after `setgroups` says deny.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

_CLONE_NEWUSER = 0x10000000
_INSIDE = 65534
_libc = ctypes.CDLL(None, use_errno=True)


def identity(*, drop_root: bool) -> dict[str, Any]:
    """The arguments for Popen that give the child an identity that is not root; none when we are not root."""
    if not drop_root or os.geteuid() != 0:
        return {}
    if available():
        return {"preexec_fn": functools.partial(_enter, os.geteuid(), os.getegid())}
    return {"user": "nobody", "group": _INSIDE, "extra_groups": []}


@functools.cache
def available() -> bool:
    """Whether a child can enter a user namespace here. Found out by trying, once."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _enter(os.geteuid(), os.getegid())
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def _enter(uid: int, gid: int) -> None:
    """Runs in the child between fork and exec: system calls only, no locks of Python's library."""
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    for name, text in (("uid_map", f"{_INSIDE} {uid} 1"), ("setgroups", "deny"), ("gid_map", f"{_INSIDE} {gid} 1")):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def hand_over(folder: Path) -> None:
    """Give a folder and all in it to `nobody`, where root's children become that user. Nothing to do otherwise."""
    if os.geteuid() != 0 or available():
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _INSIDE, _INSIDE)
