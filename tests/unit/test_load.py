"""What makes a program of chaosd load quickly holds while it loads, and touches nothing that it does or starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import gc, json, os
WHILE = {"collects": gc.isenabled(), "threads": os.environ.get("OPENBLAS_DEFAULT_NUM_THREADS")}
import numpy

def main(arguments):
    after = {"collects": gc.isenabled(), "threads": os.environ.get("OPENBLAS_DEFAULT_NUM_THREADS")}
    alive = len(os.listdir("/proc/self/task"))
    print(json.dumps([arguments, WHILE, after, alive, gc.get_freeze_count() > 1000]))
    return 3
"""


@pytest.mark.parametrize("file", ["program.py", "program/__main__.py"])
@pytest.mark.parametrize("given", [None, "2"])
def test_a_program_is_loaded_without_collections_and_runs_with_them(tmp_path, file, given):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(_PROGRAM)
    (path.parent / "__init__.py").touch()
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    if given:
        env["OPENBLAS_DEFAULT_NUM_THREADS"] = given
    argv = [sys.executable, "-m", "chaosd.process.load", "program", "a", "--b"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    arguments, loading, running, alive, frozen = json.loads(done.stdout)
    assert arguments == ["a", "--b"]
    assert loading == {"collects": False, "threads": given or "1"}
    assert running == {"collects": True, "threads": given}
    assert alive == min(int(given or "1"), os.cpu_count() or 1)
    assert frozen
