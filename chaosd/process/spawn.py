"""The only place of chaosd that spawns processes.

A process is not tied to its parent: any process of chaosd can stop, adopt or restart it from what is on disk, its
Handle and its Recipe (docs/decisions/0001-handles-not-parenthood.md).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaosd.kernel.errors import StackError
from chaosd.process import userns

MARKER = "CHAOSD_TESTBED"
PART = "CHAOSD_PART"

# Flags of a task, include/linux/sched.h: forked and not executed anything yet; a thread of the kernel.
_FORKED = 0x00000040
_KERNEL_THREAD = 0x00200000
# How often, 1 ms apart, an environment that reads as empty is read: execve lays it out within microseconds, on a
# loaded machine within a time slice or two.
_ENVIRON_READS_MAX = 50
# A child of an interpreter like ours that has not executed its program after this long is not about to do so.
_EXECUTES_WITHIN_S = 1.0

# What this process started and has not reaped yet.
_children: set[int] = set()


@dataclass(frozen=True, slots=True)
class Handle:
    """A process, told apart from a later one with the same pid: `started` is field 22 of /proc/PID/stat, in ticks."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """All it takes to start a process again. `env` is the whole environment: nothing is inherited.

    `drop_root`: the program refuses to run as root (PostgreSQL); it gets another identity when we are root.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    log: str
    drop_root: bool = False

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values; `from_json` gives it back."""
        return {**asdict(self), "argv": list(self.argv)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        """Rebuild what `to_json` wrote."""
        return cls(**{**data, "argv": tuple(data["argv"])})


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program that was run to its end ended. `output` holds stdout and stderr together."""

    code: int
    output: str


def start(recipe: Recipe, marker: str) -> Handle:
    """Start a process in a session of its own, stdout and stderr appended to its log, marked with `marker`.

    Raises StackError when the program cannot be executed.
    """
    child = _popen(recipe, marker)
    # Not reaped yet, so its entry in /proc exists even if it has ended already.
    handle = Handle(child.pid, _stat(child.pid)[1])
    _children.add(child.pid)
    # From here on `reap` waits for it. Popen must not: it warns of every process that outlives its object.
    child.returncode = 0
    return handle


def _popen(recipe: Recipe, marker: str) -> subprocess.Popen[bytes]:
    program = recipe.argv[0]
    try:
        with open(recipe.log, "ab") as log:
            return subprocess.Popen(
                list(recipe.argv),
                env={**recipe.env, MARKER: marker},
                cwd=recipe.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **userns.identity(drop_root=recipe.drop_root),
            )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"cannot start {program}: {error}"
        raise StackError(message, remedy="check that the file exists and may be run") from error


def run(recipe: Recipe, timeout_s: float, marker: str = "") -> Finished:
    """Run a program to its end and give what it printed; its log gets the same. Blocks.

    It is killed with its session after `timeout_s`, then StackError is raised.
    """
    before = Path(recipe.log).stat().st_size if Path(recipe.log).exists() else 0
    child = _popen(recipe, marker)
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        message = f"{recipe.argv[0]} did not end within {timeout_s:g} s"
        raise StackError(message, detail=_since(recipe.log, before)) from error
    finally:
        if child.returncode is None:
            # Our own child, not reaped: its pid cannot be another's.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return Finished(code, _since(recipe.log, before))


def _since(log: str, position: int) -> str:
    with open(log, "rb") as file:
        file.seek(position)
        return file.read().decode(errors="replace")


def _fields(pid: int) -> list[bytes]:
    """/proc/PID/stat from its third field on, the state letter. Raises OSError when the process is gone."""
    # The name, in parentheses, may hold spaces and parentheses itself.
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time of a process. Raises OSError when it is gone."""
    fields = _fields(pid)
    return fields[0].decode(), int(fields[19])


def _flags(pid: int) -> int:
    return int(_fields(pid)[6])


def handle_of(pid: int) -> Handle | None:
    """The handle of a running process, None when there is none with this pid."""
    try:
        state, started = _stat(pid)
    except OSError:
        return None
    return None if state in "ZX" else Handle(pid, started)


def alive(handle: Handle) -> bool:
    """Whether this very process runs (or is stopped). A zombie or a reused pid is dead."""
    return handle_of(handle.pid) == handle


def works(handle: Handle) -> bool:
    """Whether this very process may still do something: it is alive, and no SIGKILL waits for it.

    One that hangs in the kernel, in an fsync of a slow disk say, dies only when it comes back from there.
    """
    try:
        pending = next(line for line in _status(handle.pid).splitlines() if line.startswith("SigPnd:"))
    except (OSError, StopIteration):
        return False
    return alive(handle) and not int(pending.split()[1], 16) >> (signal.SIGKILL - 1) & 1


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")


def state(handle: Handle) -> str:
    """The scheduler's state letter (`R`, `S`, `T` = stopped, …), or empty when the process is gone."""
    try:
        letter, started = _stat(handle.pid)
    except OSError:
        return ""
    return letter if started == handle.started and letter not in "ZX" else ""


def send_signal(handle: Handle, sig: signal.Signals) -> bool:
    """Signal exactly this process: False when it is gone. The pidfd pins it between the check and the signal."""
    try:
        fd = os.pidfd_open(handle.pid)
    except ProcessLookupError:
        return False
    try:
        if not alive(handle):
            return False
        signal.pidfd_send_signal(fd, sig)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def kill_group(handle: Handle, sig: signal.Signals) -> bool:
    """Signal the whole process group that `handle` leads: False when it is gone."""
    if not alive(handle):
        return False
    try:
        os.killpg(handle.pid, sig)
    except ProcessLookupError:
        return False
    return True


def _parents() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            parent = int(_fields(pid)[1])
            tree.setdefault(parent, []).append(pid)
    return tree


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def tree(handle: Handle) -> list[Handle]:
    """The process and all its descendants, parents first; empty when it is gone.

    PostgreSQL's backends each lead a session of their own, so a process group does not hold them.
    """
    if not alive(handle):
        return []
    below = _parents()
    found, pids = [handle], [handle.pid]
    while pids:
        children = below.get(pids.pop(), [])
        pids.extend(children)
        found.extend(child for child in map(handle_of, children) if child)
    return found


def signal_tree(handle: Handle, sig: signal.Signals) -> int:
    """Signal the process and all its descendants, parents first. Gives how many were reached."""
    return sum(send_signal(process, sig) for process in tree(handle))


def wait_gone(handle: Handle, timeout_s: float) -> bool:
    """Wait until the process has ended, and reap it if it is our child. False when it still runs. Blocks.

    Only the pidfd tells that all threads have gone: the leader may be a zombie while another still holds the ports.
    """
    try:
        fd = os.pidfd_open(handle.pid)
    except ProcessLookupError:
        return True
    try:
        if _stat(handle.pid)[1] == handle.started:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            if not poller.poll(max(timeout_s, 0) * 1000):
                return False
    except (FileNotFoundError, ProcessLookupError):  # the second: it went between opening its file and reading it
        return True
    finally:
        os.close(fd)
    reap()
    return True


def reap() -> None:
    """Collect the children of this process that have ended, so that no zombie is left behind."""
    for pid in list(_children):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            ended = True
        if ended:
            _children.discard(pid)


def marked(marker: str, part: str | None = None) -> list[Handle]:
    """Every process of this user whose environment carries the marker (and the part's name): what handles missed."""
    needle = f"{MARKER}={marker}".encode()
    second = f"{PART}={part}".encode() if part is not None else None
    found = []
    for pid in _pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            handle = handle_of(pid)
            words = _environ(pid).split(b"\0")
            if handle and needle in words and (second is None or second in words):
                found.append(handle)
    return found


def _environ(pid: int) -> bytes:
    """The environment of a process. Raises OSError when it is gone or another user's.

    It reads as empty for a moment after execve has closed the old program's files, which is when `start` returns, and
    before it has laid out the new one's memory (fs/exec.c; environ_read in fs/proc/base.c wants `env_end`). So an empty
    one of a live process is read again. The file holds on to the memory it was opened for: it must be opened again too.
    """
    for _ in range(_ENVIRON_READS_MAX):
        text = _read_environ(pid)
        if text or handle_of(pid) is None or _flags(pid) & _KERNEL_THREAD:
            return text
        time.sleep(0.001)
    return b""


def _read_environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _about_to_execute() -> bool:
    """Whether a process forked from an interpreter like ours may be about to execute a marked program.

    Its marker comes with the program. Whoever forked it may have been killed since, and it goes on.
    """
    ours = os.readlink("/proc/self/exe")
    youngest = int((time.clock_gettime(time.CLOCK_BOOTTIME) - _EXECUTES_WITHIN_S) * os.sysconf("SC_CLK_TCK"))
    for pid in _pids():
        with contextlib.suppress(OSError):
            handle = handle_of(pid)
            recent = handle is not None and handle.started >= youngest
            if recent and _flags(pid) & _FORKED and os.readlink(f"/proc/{pid}/exe") == ours:
                return True
    return False


def end(handle: Handle, grace_s: float, sig: signal.Signals = signal.SIGTERM) -> None:
    """End a process and all its descendants: `sig`, `grace_s` to leave, SIGKILL. Stopped ones are resumed. Blocks."""
    family = tree(handle)
    if grace_s > 0 and family:
        send_signal(handle, sig)
        signal_tree(handle, signal.SIGCONT)
        wait_gone(handle, grace_s)
    # The family was noted before: once the parent is gone the descendants can no longer be found by it.
    _kill(family)


def _kill(processes: list[Handle]) -> None:
    for process in processes:
        send_signal(process, signal.SIGKILL)
    for process in processes:
        wait_gone(process, 5.0)


def end_marked(marker: str, timeout_s: float = 20.0) -> int:
    """SIGKILL every process with this marker and its descendants, until none is left; gives how many. Blocks.

    A process may fork while we look, and another may be about to execute what its dead parent forked it for: only a
    second look that finds nothing either ends it. Raises StackError when one outlives `timeout_s` (it hangs in the
    kernel).
    """
    deadline = time.monotonic() + timeout_s
    settled_by = time.monotonic() + 2 * _EXECUTES_WITHIN_S
    ended: set[Handle] = set()
    looks = 0
    while looks < 2:
        found = [member for handle in marked(marker) for member in tree(handle)]
        if found and time.monotonic() > deadline:
            raise StackError(f"process {found[0].pid} does not end, not even by SIGKILL")
        ended.update(found)
        _kill(found)
        looks = 0 if found else looks + 1
        # Interpreters that fork all the time and are none of ours must not keep us for ever.
        while looks == 1 and time.monotonic() < settled_by and _about_to_execute():
            time.sleep(0.005)
    return len(ended)


def tail(log: str | Path, lines: int = 8) -> str:
    """The last lines of a log, empty when there is none: what an error shows of a process that did not do its work."""
    try:
        return "\n".join(Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
