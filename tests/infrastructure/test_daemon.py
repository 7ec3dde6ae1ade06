"""The daemon on the real parts: it runs what is due, tells it over HTTP, and leaves nothing behind, killed or not."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waits import blocking_until

EXPERIMENT = """\
chaosd: 1
title: Redis answers late for a moment
target: reference
traffic: {rate: 100/s, streams: 2}
phases: {warmup: 300ms, baseline: 1s, hold: 500ms}
timeline:
  - {at: 0s, for: 3s, fault: latency, on: redis, latency: 150ms}
expect:
  recovery: {within: 2s, from: heal}
"""
TOKEN = "a-token-for-this-test"


class Daemon:
    """One daemon process with a state folder and a testbed name of its own."""

    def __init__(self, folder: Path, every: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.name = f"daemon-{secrets.token_hex(4)}"
        (folder / "late.yaml").write_text(EXPERIMENT, encoding="utf-8")
        (folder / "chaosd-daemon.yaml").write_text(
            f"chaosd: 1\nlisten: 127.0.0.1:0\ntestbed: {self.name}\nprofile: quick\nkeep: {{runs: 5}}\n"
            f"schedules:\n  - {{name: late, experiment: late.yaml, {every}}}\n",
            encoding="utf-8",
        )
        self.log = folder / "daemon.log"
        self.process = self.start()

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        env = {**os.environ, "CHAOSD_STATE": str(self.state), "CHAOSD_TOKEN": TOKEN}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "chaosd",
                    "daemon",
                    "--config",
                    str(self.folder / "chaosd-daemon.yaml"),
                    *options,
                ],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        said = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in said if line.get("event") == event]

    def get(self, path: str, token: str = TOKEN) -> tuple[int, str]:
        port = blocking_until(lambda: self.said("listening"), "the daemon listens", 30)[-1]["port"]
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def runs(self) -> list[dict[str, Any]]:
        return json.loads(self.get("/runs")[1])["runs"]

    def leases(self) -> list[Path]:
        return list((self.state / "leases").glob("*.json"))

    def testbeds(self) -> list[str]:
        folder = self.state / "testbeds"
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def processes(self) -> list[str]:
        """Command lines of every process that belongs to this daemon or its testbed, the daemon excepted."""
        needles = (f"CHAOSD_STATE={self.state}".encode(), f"CHAOSD_TESTBED={self.name}-".encode())
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environ = (path / "environ").read_bytes()
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if int(path.name) != self.process.pid and any(needle in environ for needle in needles):
                found.append(f"{path.name} {line}")
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def daemon(tmp_path) -> Iterator[Callable[[str], Daemon]]:
    made: list[Daemon] = []

    def start(every: str) -> Daemon:
        made.append(Daemon(tmp_path, every))
        return made[-1]

    yield start
    for one in made:
        one.end()


@pytest.mark.slow
def test_it_runs_what_is_due_tells_the_verdict_and_a_signal_heals_and_ends_everything(daemon):
    """Three runs: one whose conductor is killed, one that is left alone, one in whose fault the daemon is ended."""
    one = daemon("every: 1s")
    blocking_until(one.leases, "the fault is injected", 120)
    (conductor,) = [line for line in one.processes() if line.rstrip().endswith("chaosd.process.load chaosd.conductor")]
    os.kill(int(conductor.split()[0]), signal.SIGKILL)
    blocking_until(lambda: not one.leases(), "the fault is undone", 10)
    dead = blocking_until(lambda: [run for run in one.runs() if run["exit"] is not None], "the run has ended", 60)[-1]
    assert dead["exit"] == 5
    assert dead["verdict"] != "PASS"

    another_daemon_is_refused_its_testbed(one)
    finished = blocking_until(lambda: [run for run in one.runs() if run["exit"] not in (None, 5)], "a run ends", 180)
    ended = finished[0]
    assert ended["verdict"] in ("PASS", "INCONCLUSIVE"), ended
    assert ended["exit"] == {"PASS": 0, "INCONCLUSIVE": 3}[ended["verdict"]]
    assert (one.folder / "runs" / ended["run_id"] / "verdict.json").is_file()
    assert one.get("/healthz", token="")[0] == 200
    assert one.get("/runs", token="wrong")[0] == 401
    assert one.get("/metrics", token="wrong")[0] == 401
    alike = sum(run["verdict"] == ended["verdict"] for run in (dead, ended))
    assert f'chaosd_runs_total{{verdict="{ended["verdict"]}"}} {alike}.0' in one.get("/metrics")[1]
    assert "<html" in one.get(f"/runs/{ended['run_id']}/report")[1].lower()
    last = json.loads(one.get("/runs")[1])["schedules"][0]["last"]
    assert last["run"] == ended["id"]

    # The next run uses the same testbed; the signal comes while its fault is on.
    blocking_until(lambda: one.leases() and len(one.runs()) == 3, "the third run's fault is injected", 120)
    assert one.testbeds() == [one.name]
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(120) == 0, one.log.read_text(encoding="utf-8")[-2000:]
    assert one.leases() == []
    assert one.testbeds() == []
    assert blocking_until(lambda: not one.processes(), "no process is left", 10) is True
    assert [(event["state"], event["fault"]) for event in one.said("fault")][-2:] == [
        ("injected", "latency"),
        ("healed", "latency"),
    ]
    assert one.said("run ended")[-1]["exit"] == 5


def another_daemon_is_refused_its_testbed(one: Daemon) -> None:
    second = one.start()
    assert second.wait(60) == 2
    assert f"the testbed {one.name} belongs to another process" in one.log.read_text(encoding="utf-8")
    assert one.said("an earlier daemon died") == []


@pytest.mark.slow
def test_a_daemon_that_is_killed_leaves_nothing_and_the_next_one_says_so(daemon):
    one = daemon("every: 10m")
    blocking_until(one.leases, "the fault is injected", 120)
    one.process.kill()
    one.process.wait()
    blocking_until(lambda: not one.leases(), "the fault is undone", 10)
    blocking_until(lambda: not one.testbeds(), "the testbed is gone", 60)
    blocking_until(lambda: not one.processes(), f"no process is left: {one.processes()}", 60)

    (one.folder / "late.yaml").write_text(EXPERIMENT.replace("latency, on", "latencie, on"), encoding="utf-8")
    wrong = one.start("--once")
    assert wrong.wait(30) == 2
    assert "did you mean 'latency'" in one.log.read_text(encoding="utf-8")

    (one.folder / "late.yaml").write_text(EXPERIMENT, encoding="utf-8")
    one.process = one.start()
    assert blocking_until(lambda: one.said("an earlier daemon died"), "the death is noticed", 30)[0]["runs"] == 1
    dead = blocking_until(lambda: one.said("listening")[1:] and one.runs(), "it serves again", 60)[-1]
    assert (dead["exit"], dead["error"]) == (5, "the daemon died during this run")
