"""A guard of the experiment's own ends a real run: healed, told, exit code 5."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from live_run import LiveRun, experiment, facts, until


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


async def test_a_probe_that_says_no_heals_and_ends_the_run_with_its_reason(tmp_path):
    fine = tmp_path / "production-is-fine"
    fine.touch()
    path = Path(experiment(tmp_path, "latency, on: redis, latency: 200ms"))
    script = f"import os, sys; sys.exit(not os.path.exists({str(fine)!r}) and 'production hurts')"
    guard = f"{{command: {json.dumps([sys.executable, '-S', '-c', script])}, every: 200ms, timeout: 20s}}"
    path.write_text(path.read_text() + f"abort_when:\n  probes: [{guard}]\n")
    run = await LiveRun.begin(tmp_path, str(path))
    listening = asyncio.create_task(run.listen())
    try:
        await run.reaches("fault", state="injected")
        fine.unlink()
        await until(lambda: facts(run.run_dir, kind="fault_healed"), "the heal")
        verdict = await run.reaches("verdict")
        await run.leaves_nothing()
        assert await run.ends() == 5
    finally:
        await run.handle.close()
        await asyncio.wait({listening})
    tripped = facts(run.run_dir, kind="guard_tripped")[0]
    healing = facts(run.run_dir, kind="heal_intended")[0]
    assert healing["t_ns"] - tripped["t_ns"] < 1_000_000_000
    assert verdict["verdict"] == "INCONCLUSIVE"
    told = json.loads((run.run_dir / "verdict.json").read_text())
    assert "abort_when.probes[0]" in told["setting"]["aborted"]
    assert "production hurts" in told["setting"]["aborted"]
    assert "production hurts" in (run.run_dir / "report.html").read_text()
