"""A real run in folders of its own, watched from outside, for tests that kill its processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from waits import until

from chaosd.conductor.client import RunHandle, RunRequest, start
from chaosd.conductor.kept import Kept
from chaosd.process import spawn
from chaosd.testbed import record as records
from chaosd.testbed.testbed import Testbed

# A trickle through short phases: who kills a process asks what is healed, not how the pipeline recovered.
_EXPERIMENT = """\
chaosd: 1
title: one fault, short phases
traffic: {{rate: {rate}/s, streams: 4}}
phases: {{warmup: 300ms, baseline: {baseline}, hold: 500ms}}
timeline:
  - {{at: 0s, for: {lasts}, fault: {fault}}}
expect: {{recovery: {{within: {within}}}}}
"""


def experiment(
    folder: Path, fault: str, lasts: str = "30s", rate: int = 50, within: str = "2s", baseline: str = "1s"
) -> str:
    """An experiment file of one fault, told as the rest of its line: `latency, on: redis, latency: 300ms`."""
    told = {"fault": fault, "lasts": lasts, "rate": rate, "within": within, "baseline": baseline}
    path = folder / "one-fault.yaml"
    path.write_text(_EXPERIMENT.format(**told), encoding="utf-8")
    return str(path)


def facts(run_dir: Path, process: str = "conductor", kind: str = "") -> list[dict[str, Any]]:
    """The whole lines of a facts file that is perhaps being written."""
    path = run_dir / f"facts-{process}.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    found = [json.loads(line) for line in lines]
    return [fact for fact in found if not kind or fact["kind"] == kind]


async def command(folder: Path, *arguments: str) -> spawn.Finished:
    argv = (sys.executable, "-m", "chaosd", *arguments)
    recipe = spawn.Recipe(argv, dict(os.environ), str(folder), str(folder / "command.log"))
    return await asyncio.to_thread(spawn.run, recipe, 120)


async def judged(folder: Path, run_dir: Path, *reasons: str) -> dict[str, Any]:
    """`chaosd verify` says that the run proves nothing, and why, without a traceback."""
    ended = await command(folder, "verify", str(run_dir))
    assert ended.code == 3, ended.output
    assert "Traceback" not in ended.output
    verdict = json.loads((run_dir / "verdict.json").read_text())
    assert verdict["verdict"] == "INCONCLUSIVE"
    told = " ".join(verdict["reasons"])
    assert all(reason in told for reason in reasons), told
    return verdict


def living(state: Path, marker: str = "") -> list[str]:
    """Command lines of the processes that belong to a state folder: chaosd's own, and those of its testbed."""
    needles = {f"CHAOSD_STATE={state}".encode(), f"{spawn.MARKER}={marker or '?'}".encode()}
    found = []
    for entry in Path("/proc").iterdir():
        try:
            # The environment as it was when the program started: that of this process is not meant.
            if entry.name.isdigit() and needles & set((entry / "environ").read_bytes().split(b"\0")):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:160])
        except OSError:
            continue
    return found


def child_of(pid: int, module: str) -> int:
    """The pid of the child of `pid` that runs a module of chaosd; 0 when there is none."""
    handle = spawn.handle_of(pid)
    for process in spawn.tree(handle) if handle else ():
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
        if module in words:
            return process.pid
    return 0


def kill(pid: int) -> int:
    """SIGKILL a process; the time just before it, in ns."""
    assert pid
    at_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    return at_ns


@asynccontextmanager
async def kept_testbed(name: str, folder: Path) -> AsyncIterator[Testbed]:
    """A testbed for many runs, and a state folder of its own for this process meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAOSD_STATE", str(folder / "state"))
        kept = Kept(name, "embedded", folder / "guard.log")
        await kept.open()
        try:
            yield await kept.ready()
        finally:
            await kept.close()
        assert not [*(folder / "state" / "testbeds").glob("*"), *(folder / "state" / "leases").glob("*")]


@dataclass
class LiveRun:
    """A conductor at work. `events` grows while it speaks."""

    handle: RunHandle
    state: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    marker: str = ""

    @classmethod
    async def begin(cls, folder: Path, experiment_file: str, **changes: Any) -> LiveRun:
        """Start a run; CHAOSD_STATE must be set for this process."""
        given = {"runs_dir": str(folder / "runs"), "profile": "quick", "skip_preflight": True, "seed": 7, **changes}
        request = RunRequest(experiment=experiment_file, **given)
        return cls(await start(request, folder / "conductor.log"), Path(os.environ["CHAOSD_STATE"]))

    async def listen(self) -> None:
        """Take events until the conductor ends."""
        async for event in self.handle.events():
            self.events.append(event)

    def said(self, kind: str, **values: Any) -> dict[str, Any] | None:
        """The first event of a kind with these values."""
        wanted = {"event": kind, **values}.items()
        return next((event for event in self.events if wanted <= _flat(event).items()), None)

    @property
    def run_dir(self) -> Path:
        """The run directory, known from the first event on."""
        said = self.said("run")
        assert said is not None
        return Path(said["run_dir"])

    @property
    def testbed(self) -> Path:
        """The folder of the run's own testbed."""
        return self.state / "testbeds" / self.run_dir.name

    async def reaches(self, kind: str, within_s: float = 60.0, **values: Any) -> dict[str, Any]:
        """Wait for an event; the testbed's marker is known afterwards."""
        event = await until(lambda: self.said(kind, **values) or self._over(), f"{kind} {values}", within_s)
        assert isinstance(event, dict), f"the run ended without {kind} {values}: {self.events[-3:]}"
        self._note_marker()
        return event

    async def ends(self) -> int | None:
        """Wait for the end of the conductor; its exit code."""
        await until(self._over, "the conductor's end")
        return self.handle.code

    def _over(self) -> bool:
        return self.handle.code is not None

    def _note_marker(self) -> None:
        for path in (self.state / "testbeds").glob(f"*/{records.FILE}"):
            self.marker = records.load(path.parent).marker

    def left(self) -> list[str]:
        """What should be gone after the run: processes, testbeds, leases."""
        files = (*(self.state / "testbeds").glob("*"), *(self.state / "leases").glob("*"))
        return [*living(self.state, self.marker), *map(str, files)]

    async def leaves_nothing(self, within_s: float = 60.0) -> None:
        """Wait until nothing of the run is left."""
        deadline = time.monotonic() + within_s
        while left := self.left():
            assert time.monotonic() < deadline, "left behind:\n" + "\n".join(left)
            await asyncio.sleep(0.05)


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if not isinstance(value, list | dict)}


def kinds(found: Iterable[dict[str, Any]]) -> list[str]:
    """The kinds of facts, in order."""
    return [fact["kind"] for fact in found]


def all_is_well(verdict: dict[str, Any]) -> bool:
    """Whether a verdict is PASS, or would be one on a machine that is not too busy to have a baseline to judge by."""
    return verdict["verdict"] == "PASS" or (
        verdict["verdict"] == "INCONCLUSIVE"
        and all(reason.startswith("recovery:baseline_") for reason in verdict["reasons"])
    )
