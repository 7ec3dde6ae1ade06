"""Whether the program of a pipeline was changed: what its commands name, and its source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from test_launch import endpoints

from chaosd.experiment.target_file import read
from chaosd.target.pipeline import processes, written

TARGET = """\
chaosd: 1
target:
  name: billing
  command: ["${python}", "${folder}/worker.py", --say, "LONG"]
  source: lib
  topics:
    input: {name: orders, group: billing, value: '{"id": "${id}"}'}
    output: [{name: bills}]
  envelope: {id: $.order}
"""


def write(folder: Path) -> None:
    for name in ("worker.py", "lib/inner/rules.py", "lib/notes.txt", "log.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1")
    (folder / "chaosd.yaml").write_text(TARGET.replace("LONG", 999 * "no name of a file is that long "))


def digest(folder: Path) -> str:
    made = read(folder / "chaosd.yaml")
    return written(made, processes(made, endpoints().proxied, folder))


def touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "nothing": (lambda folder: None, False),
    "the file of its command": (lambda folder: (folder / "worker.py").write_text("22"), True),
    "the same size, later": (lambda folder: touch(folder / "worker.py"), True),
    "a module of its source": (lambda folder: touch(folder / "lib/inner/rules.py"), True),
    "one more module": (lambda folder: (folder / "lib/more.py").write_text(""), True),
    "one module less": (lambda folder: (folder / "lib/inner/rules.py").unlink(), True),
    "what is no program": (lambda folder: touch(folder / "lib/notes.txt"), False),
    "what it writes itself": (lambda folder: touch(folder / "log.txt"), False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_program_is_another_one_when_a_file_of_it_was_changed(tmp_path, what):
    change, another = CHANGES[what]
    write(tmp_path)
    before = digest(tmp_path)
    change(tmp_path)
    assert (digest(tmp_path) != before) is another
