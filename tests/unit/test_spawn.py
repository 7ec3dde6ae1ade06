"""Processes by handle, recipe and marker. The processes are real: `sleep` and small Python programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from waits import blocking_until

from chaosd.kernel.errors import StackError
from chaosd.process import spawn
from chaosd.process.spawn import Handle, Recipe


@pytest.fixture
def marker():
    """A marker of the test's own; whatever carries it is ended."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    spawn.end_marked(name)


@pytest.fixture
def program(tmp_path):
    """A recipe for a Python program."""

    def make(text: str, **env: str) -> Recipe:
        return Recipe((sys.executable, "-S", "-c", text), {"PATH": "/usr/bin:/bin", **env}, "/", str(tmp_path / "log"))

    return make


@pytest.fixture
def sleeper(tmp_path):
    return Recipe(("/bin/sleep", "60"), {}, "/", str(tmp_path / "log"))


def children_of(handle: Handle) -> int:
    return len(spawn.tree(handle)) - 1


FORK = "import os, time\nfor _ in range(2):\n    if os.fork() == 0:\n        os.setsid(); break\ntime.sleep(60)"


def test_a_recipe_survives_json():
    recipe = Recipe(("a", "b"), {"X": "1"}, "/", "/log", drop_root=True)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_started_process_is_alive_until_it_has_ended(sleeper, marker):
    handle = spawn.start(sleeper, marker)
    assert spawn.alive(handle)
    spawn.end(handle, 0)
    assert not spawn.alive(handle)


def test_a_process_that_is_reaped_while_its_file_is_read_is_gone(monkeypatch):
    """The file can be opened before and not be read afterwards, which is another error than that it is not there."""
    with subprocess.Popen(["sleep", "60"]) as process:
        handle = spawn.handle_of(process.pid)

        def fields(pid: int) -> list[bytes]:
            with Path(f"/proc/{pid}/stat").open("rb", buffering=0) as file:
                process.kill()
                process.wait()
                return file.read().rpartition(b")")[2].split()

        monkeypatch.setattr(spawn, "_fields", fields)
        assert spawn.wait_gone(handle, 5)


def test_a_pid_with_another_start_time_is_another_process(sleeper, marker):
    handle = spawn.start(sleeper, marker)
    other = Handle(handle.pid, handle.started + 1)
    assert not spawn.alive(other)
    assert not spawn.send_signal(other, signal.SIGKILL)
    assert not spawn.kill_group(other, signal.SIGKILL)
    spawn.end(other, 0)
    assert spawn.wait_gone(other, 0)
    assert spawn.alive(handle)


def test_a_process_that_hangs_in_the_kernel_with_sigkill_pending_works_no_more(sleeper, marker, monkeypatch):
    """Fake: its status, since nothing here hangs in the kernel. Bit 8 of SigPnd is signal 9."""
    handle = spawn.start(sleeper, marker)
    assert spawn.works(handle)
    monkeypatch.setattr(spawn, "_status", lambda pid: "Name:\tx\nSigPnd:\t0000000000000100\nShdPnd:\t0\n")
    assert spawn.alive(handle)
    assert not spawn.works(handle)
    monkeypatch.setattr(spawn, "_status", lambda pid: "Name:\tx\nSigPnd:\t0000000000004200\nShdPnd:\t0\n")
    assert spawn.works(handle)
    monkeypatch.undo()
    spawn.end(handle, 0)
    assert not spawn.works(handle)


def test_a_zombie_is_dead():
    child = subprocess.Popen(["/bin/true"])
    blocking_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "Z", within_s=5)
    assert spawn.handle_of(child.pid) is None
    child.wait()


def test_a_process_has_its_own_session_no_input_and_only_the_environment_it_was_given(program, marker, tmp_path):
    os.environ["CHAOSD_TEST_LEAK"] = "1"
    text = (
        "import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()), 'CHAOSD_TEST_LEAK' in os.environ)"
    )
    handle = spawn.start(program(text), marker)
    del os.environ["CHAOSD_TEST_LEAK"]
    assert spawn.wait_gone(handle, 10)
    assert (tmp_path / "log").read_text() == "True '' False\n"


def test_the_log_is_appended_to(program, marker, tmp_path):
    for word in ("one", "two"):
        assert spawn.wait_gone(spawn.start(program(f"print('{word}')"), marker), 10)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_program_that_is_not_there_is_an_error_that_names_it(marker, tmp_path):
    with pytest.raises(StackError, match="/nowhere/redis-server"):
        spawn.start(Recipe(("/nowhere/redis-server",), {}, "/", str(tmp_path / "log")), marker)


def test_waiting_for_a_process_that_does_not_end_is_bounded(sleeper, marker):
    handle = spawn.start(sleeper, marker)
    began = time.monotonic()
    assert not spawn.wait_gone(handle, 0.05)
    assert time.monotonic() - began < 1


def test_a_stopped_process_shows_it_and_is_ended_all_the_same(sleeper, marker):
    handle = spawn.start(sleeper, marker)
    spawn.send_signal(handle, signal.SIGSTOP)
    blocking_until(lambda: spawn.state(handle) == "T", within_s=5)
    spawn.end(handle, 5)
    assert spawn.state(handle) == ""


def test_end_gives_the_process_time_to_leave_in_good_order(program, marker, tmp_path):
    text = (
        "import os, signal, sys, time\n"
        # Not print: the signal may come in the middle of the one below.
        "signal.signal(15, lambda *_: (os.write(1, b'bye\\n'), sys.exit()))\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )
    handle = spawn.start(program(text), marker)
    blocking_until(lambda: "up" in (tmp_path / "log").read_text(), within_s=5)
    spawn.end(handle, 10)
    assert (tmp_path / "log").read_text() == "up\nbye\n"


def test_end_kills_what_ignores_the_signal(program, marker, tmp_path):
    text = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"
    handle = spawn.start(program(text), marker)
    blocking_until(lambda: "up" in (tmp_path / "log").read_text(), within_s=5)
    spawn.end(handle, 0.05)
    assert not spawn.alive(handle)


def test_the_tree_holds_children_that_left_the_session(program, marker):
    handle = spawn.start(program(FORK), marker)
    blocking_until(lambda: children_of(handle) == 2, within_s=5)
    family = spawn.tree(handle)
    assert family[0] == handle
    spawn.end(handle, 0)
    assert not any(spawn.alive(process) for process in family)


def test_the_marker_finds_processes_and_their_orphans_and_no_others(program, sleeper, marker):
    parent = spawn.start(program(FORK), marker)
    other = spawn.start(sleeper, f"{marker}-other")
    try:
        blocking_until(lambda: children_of(parent) == 2, within_s=5)
        os.kill(parent.pid, signal.SIGKILL)
        assert spawn.wait_gone(parent, 5)
        assert len(spawn.marked(marker)) == 2
        assert spawn.end_marked(marker) == 2
        assert spawn.marked(marker) == []
        assert spawn.alive(other)
    finally:
        spawn.end(other, 0)


def test_the_marker_and_the_part_find_one_part(tmp_path, marker):
    for part in ("redis", "kafka"):
        spawn.start(Recipe(("/bin/sleep", "60"), {spawn.PART: part}, "/", str(tmp_path / "log")), marker)
    assert len(spawn.marked(marker)) == 2
    assert len(spawn.marked(marker, "redis")) == 1
    assert spawn.marked(marker, "postgres") == []


def test_an_environment_that_the_kernel_has_not_laid_out_yet_is_read_again(sleeper, marker, monkeypatch):
    """Fake: the first reads of /proc/PID/environ are empty, as between execve's close-on-exec and its new memory."""
    handle = spawn.start(sleeper, marker)
    read, early = spawn._read_environ, {handle.pid: 3}

    def too_early(pid: int) -> bytes:
        early[pid] = early.get(pid, 0) - 1
        return b"" if early[pid] >= 0 else read(pid)

    monkeypatch.setattr(spawn, "_read_environ", too_early)
    assert spawn.marked(marker) == [handle]


def test_what_never_has_an_environment_does_not_keep_the_look_waiting(tmp_path, marker):
    """Kernel threads (root sees them) and a program started with nothing in its environment."""
    with subprocess.Popen(["/bin/sleep", "60"], env={}) as bare:
        began = time.monotonic()
        assert spawn.marked(marker) == []
        assert time.monotonic() - began < 5
        bare.kill()


def test_the_end_of_a_marker_waits_for_a_process_that_is_about_to_carry_it(program, marker, tmp_path):
    """Forked, its parent killed, not executed yet: the first look cannot know it."""
    text = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), flush=True); time.sleep(0.3)\n"
        f"    os.execve('/bin/sleep', ['sleep', '60'], {{'{spawn.MARKER}': '{marker}'}})\n"
        "time.sleep(60)"
    )
    parent = spawn.start(program(text), f"{marker}-starter")
    try:
        blocking_until(lambda: "\n" in (tmp_path / "log").read_text(), within_s=20)
        child = spawn.handle_of(int((tmp_path / "log").read_text()))
        os.kill(parent.pid, signal.SIGKILL)
        assert spawn.marked(marker) == []
        assert spawn.end_marked(marker) == 1
        assert not spawn.alive(child)
    finally:
        spawn.end_marked(f"{marker}-starter")


def test_run_gives_code_and_output_of_this_run_only(program):
    assert spawn.run(program("print('first')"), 10).output == "first\n"
    ended = spawn.run(program("import sys; print('second'); sys.exit(3)"), 10)
    assert (ended.code, ended.output) == (3, "second\n")


def test_run_kills_what_takes_too_long(sleeper):
    began = time.monotonic()
    with pytest.raises(StackError, match="did not end within"):
        spawn.run(sleeper, 0.05)
    assert time.monotonic() - began < 5


def test_a_killed_starter_does_not_take_the_process_along(program, marker, tmp_path):
    text = (
        "from chaosd.process import spawn\n"
        f"recipe = spawn.Recipe(('/bin/sleep', '60'), {{}}, '/', {str(tmp_path / 'inner')!r})\n"
        f"handle = spawn.start(recipe, {marker!r})\n"
        "print(handle.pid, handle.started, flush=True)\n"
        "import time; time.sleep(60)"
    )
    recipe = Recipe((sys.executable, "-c", text), dict(os.environ), "/", str(tmp_path / "log"))
    starter = spawn.start(recipe, f"{marker}-starter")
    blocking_until(lambda: "\n" in (tmp_path / "log").read_text(), within_s=20)
    inner = Handle(*map(int, (tmp_path / "log").read_text().split()))
    spawn.send_signal(starter, signal.SIGKILL)
    assert spawn.wait_gone(starter, 5)
    assert spawn.alive(inner)
    spawn.end(inner, 0)
    assert not spawn.alive(inner)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop root")
def test_a_program_that_refuses_root_runs_as_somebody_else(tmp_path):
    recipe = Recipe(("/usr/bin/id", "-u"), {}, "/", str(tmp_path / "log"), drop_root=True)
    assert spawn.run(recipe, 10).output == "65534\n"
