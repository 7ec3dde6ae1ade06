"""Several processes share a large project: they find what one finds, and none is missed when it dies."""

from __future__ import annotations

import subprocess
import sys

import pytest
from test_defect_lab import ALL

from chaosd.preflight import check
from chaosd.preflight.index.project import load
from chaosd.preflight.index.source import Layout
from chaosd.preflight.infer.analysis import Analysis, analyse
from chaosd.preflight.rules.lacking import directly_made
from chaosd.preflight.rules.rule import gathered
from chaosd.preflight.rules.table import RULES

_WORKER_DIES = """
import os, signal, sys
from chaosd.cli.app import run
from chaosd.preflight import check

first, examine = os.getpid(), check._examine

def dies(*args, **words):
    if os.getpid() != first:
        {how}
    return examine(*args, **words)

check._examine = dies
sys.exit(run(["preflight", sys.argv[1], "--no-cache", "--jobs", "3"]))
"""
_EXCHANGE = """
from chaosd.process.crew import work_in_parts
print(work_in_parts([1, 2, 3], lambda part, exchange: [part, exchange(part), exchange(exchange(part * 10))[part - 1]]))
"""


def python(*argv):
    """A process without threads, as the command line is: forking is safe there."""
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=120, check=False)


def preflight(folder, jobs):
    return python("-m", "chaosd", "preflight", str(folder), "--no-cache", "--format", "json", "--jobs", str(jobs))


@pytest.fixture
def shop(tmp_path):
    """A class, one who fills its objects by computed names, and one who reads an attribute: three modules."""
    files = {
        "metrics.py": "class Metrics: ...\n",
        "filler.py": "from metrics import Metrics\n\nfor name in input().split():\n    setattr(Metrics(), name, 0)\n",
        "reader.py": "from metrics import Metrics\n\nprint(Metrics().total)\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_report_of_the_whole_lab_does_not_depend_on_the_number_of_processes(tmp_path):
    for number, case in enumerate(ALL):
        (tmp_path / f"case_{number:03}.py").write_text(case.source, encoding="utf-8")
    alone, *shared = (preflight(tmp_path, jobs) for jobs in (1, 2, 3))
    assert alone.returncode == 1
    assert {rule.name for rule in RULES} - set(_rules(alone.stdout)) == set()
    assert [(done.returncode, done.stdout, done.stderr) for done in shared] == [(1, alone.stdout, "")] * 2


def _rules(text):
    return (word for word in text.replace('"', " ").split() if "-" in word)


def test_what_another_process_sees_vetoes_a_finding(shop):
    assert preflight(shop, 3).returncode == 0
    (shop / "filler.py").write_text("x = 1\n", encoding="utf-8")
    found = preflight(shop, 3)
    assert found.returncode == 1
    assert "Metrics has no attribute 'total'" in found.stdout


@pytest.mark.parametrize(
    ("how", "told"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "was killed by signal 9"), ("os._exit(0)", "ended with code 0")],
)
def test_worker_that_dies_is_an_error_and_never_a_pass(shop, how, told):
    done = python("-c", _WORKER_DIES.format(how=how), str(shop))
    assert done.returncode == 2
    assert told in done.stderr
    assert "remedy" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_everybody_hears_everybody_in_the_order_of_the_parts():
    done = python("-c", _EXCHANGE)
    assert done.stdout.strip() == str([[part, [1, 2, 3], [10, 20, 30]] for part in (1, 2, 3)]), done.stderr


def test_parts_hold_every_module_once_and_small_projects_stay_in_one_process(shop):
    project = load(Layout.of(shop))
    for number in (1, 2, 3, 9):
        parts = project.parts(number)
        assert len(parts) == min(number, 3)
        assert sorted(name for part in parts for name in part) == sorted(project.modules)
    assert check._jobs(project) == 1


def test_fact_that_a_rule_does_not_name_is_not_taken_from_a_part(shop):
    project = load(Layout.of(shop))
    whole = analyse(project)
    assert gathered(whole, directly_made) == {"metrics:Metrics"}
    part = Analysis(project, whole.shapes, whole.flows, whole.record, frozenset({"reader"}))
    with pytest.raises(LookupError, match="directly_made"):
        gathered(part, directly_made)
