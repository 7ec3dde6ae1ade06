"""What the testbed's processes use, and where the target is connected: samples of a few milliseconds each.

Sources: proc_pid_stat(5), proc_pid_fd(5).
"""

# ruff: noqa: PTH115, PTH123, PTH208 -- /proc is read by the hundred, twice a second

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from chaosd.journal.columns import EXPOSURE, NOT_KNOWN, RESOURCES, State
from chaosd.kernel import names
from chaosd.kernel.clock import SECOND, Clock
from chaosd.process import spawn, tcp
from chaosd.process.spawn import Handle
from chaosd.testbed.testbed import PARTS, TARGET, Testbed

_TICK_NS = SECOND // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CONNECTED = (tcp.State.ESTABLISHED, tcp.State.SYN_SENT)  # or trying


@dataclass(frozen=True, slots=True)
class Seen:
    """One process as /proc tells it. `started` in ticks, as in a Handle."""

    pid: int
    parent: int
    state: str
    started: int
    rss_bytes: int
    cpu_ns: int


def snapshot() -> dict[int, Seen]:
    """All processes of this machine, by pid."""
    seen = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                # The name, in parentheses, may hold spaces and parentheses itself.
                words = file.read().rpartition(b")")[2].split()
                cpu_ns = (int(words[11]) + int(words[12])) * _TICK_NS
                rss_bytes = int(words[21]) * _PAGE
                seen[int(entry)] = Seen(int(entry), int(words[1]), words[0].decode(), int(words[19]), rss_bytes, cpu_ns)
    return seen


def family(seen: Mapping[int, Seen], handle: Handle) -> list[Seen]:
    """The process and its descendants, itself first; empty when it is gone."""
    root = seen.get(handle.pid)
    if root is None or root.started != handle.started or root.state in "ZX":
        return []
    below: dict[int, list[Seen]] = {}
    for process in seen.values():
        below.setdefault(process.parent, []).append(process)
    found = [root]
    for process in found:  # it grows while it is walked
        found.extend(below.get(process.pid, []))
    return found


def sample_resources(seen: Mapping[int, Seen], handles: Mapping[str, Handle | None], t_ns: int) -> np.ndarray:
    """Rows of RESOURCES, one for each process that chaosd started; `handles` are in the order of the journal.

    Memory, time and files of descendants are added.
    Memory is RSS: pages that PostgreSQL's processes share count once for each of them.
    """
    rows = []
    for index, handle in enumerate(handles.values()):
        if handle is None:
            continue
        members = family(seen, handle)
        state = State.GONE if not members else State.STOPPED if members[0].state in "Tt" else State.RUNNING
        rows.append(
            (
                t_ns,
                index,
                handle.pid,
                handle.started,
                int(state),
                sum(member.rss_bytes for member in members),
                sum(member.cpu_ns for member in members),
                sum(_files(member.pid) for member in members),
            )
        )
    return np.array(rows, RESOURCES.dtype)


def _files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def sample_exposure(
    pids: Iterable[int],
    proxied: Mapping[str, Iterable[int]],
    direct: Mapping[str, Iterable[int]],
    t_ns: int,
    parts: Sequence[str] = PARTS,
) -> np.ndarray:
    """Rows of EXPOSURE, one for each part in the journal's order: how many sockets of these processes go to its ports.

    By the name of the part: `proxied` are the ports of its proxies, `direct` all ports of its own.
    """
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    ports = Counter(one.remote_port for one in tcp.sockets(*_CONNECTED) if one.inode in inodes)
    return _exposure(ports, proxied, direct, t_ns, parts)


def sample_others(
    own: Iterable[int], proxied: Mapping[str, Iterable[int]], t_ns: int, parts: Sequence[str]
) -> np.ndarray:
    """Rows of EXPOSURE of whoever goes to the proxies and is none of these processes: a pipeline that chaosd did not
    start. Who goes past them is not known, for servers and instruments do so too.
    """
    inodes = {inode for pid in own for inode in _sockets(pid)}
    ports = Counter(one.remote_port for one in tcp.sockets(*_CONNECTED) if one.inode and one.inode not in inodes)
    rows = _exposure(ports, proxied, {}, t_ns, parts)
    rows["direct"] = NOT_KNOWN
    return rows


def _exposure(
    ports: Counter[int],
    proxied: Mapping[str, Iterable[int]],
    direct: Mapping[str, Iterable[int]],
    t_ns: int,
    parts: Sequence[str],
) -> np.ndarray:
    rows = [
        (t_ns, index, sum(ports[p] for p in proxied.get(part, ())), sum(ports[p] for p in direct.get(part, ())))
        for index, part in enumerate(parts)
    ]
    return np.array(rows, EXPOSURE.dtype)


def _sockets(pid: int) -> set[int]:
    found = set()
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for fd in os.listdir(folder):
            with suppress(OSError):
                to = os.readlink(f"{folder}/{fd}")
                if to.startswith("socket:["):
                    found.add(int(to[8:-1]))
    return found


class Usage:
    """Samples one testbed. `sample` blocks for some milliseconds: call it in a thread."""

    def __init__(self, testbed: Testbed, clock: Clock) -> None:
        self._testbed = testbed
        self._clock = clock
        stack, parts = testbed.stack, testbed.parts
        self._proxied = {
            part: [int(proxy.listen.rpartition(":")[2]) for proxy in stack.proxies() if proxy.part == part]
            for part in parts
        }
        self._direct = {part: {stack.record.parts[part].port, *stack.record.parts[part].owns} for part in parts}
        self._parts = parts
        self._processes = testbed.processes
        self._met = False  # a pipeline that chaosd did not start, at one of the proxies

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of EXPOSURE and of RESOURCES. What they show was so at or after their time."""
        t_ns = self._clock.now_ns()
        handles = {name: self._testbed.handle(name) for name in self._processes}
        seen = snapshot()
        target = [handle for name, handle in handles.items() if names.kind(name) == TARGET and handle is not None]
        pids = [member.pid for replica in target for member in family(seen, replica)]
        exposure = np.array([], EXPOSURE.dtype)
        if pids:
            exposure = sample_exposure(pids, self._proxied, self._direct, t_ns, self._parts)
        elif not self._testbed.record.replicas:
            exposure = self._of_others(seen, handles.values(), t_ns)
        return exposure, sample_resources(seen, handles, t_ns)

    def _of_others(self, seen: Mapping[int, Seen], parts: Iterable[Handle | None], t_ns: int) -> np.ndarray:
        """Nothing as long as nobody was met: a pipeline of another machine or container cannot be seen from here."""
        known = [handle for handle in (spawn.handle_of(os.getpid()), *parts) if handle is not None]
        own = [member.pid for handle in known for member in family(seen, handle)]
        rows = sample_others(own, self._proxied, t_ns, self._parts)
        self._met = self._met or bool((rows["proxied"] > 0).any())
        return rows if self._met else rows[:0]
