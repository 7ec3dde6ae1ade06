"""/runs: what ran, with its verdict and its report; what runs; what is due when; and starting a schedule now."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import FileResponse

from chaosd.daemon.config import Config, find_schedule
from chaosd.daemon.runner import Runner
from chaosd.daemon.schedules import Schedules
from chaosd.daemon.store import Store
from chaosd.healing.halt import halted, said
from chaosd.kernel.errors import UsageError


class Wanted(BaseModel):
    """The body of POST /runs. Only what is configured can be started: a request brings no experiment of its own."""

    model_config = ConfigDict(extra="forbid")
    schedule: str


def router(config: Config, store: Store, runner: Runner, schedules: Schedules) -> APIRouter:
    """GET /runs, GET /runs/{run_id}, GET /runs/{run_id}/report, POST /runs."""
    routes = APIRouter()

    @routes.get("/runs")
    async def list_runs(limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> dict[str, Any]:
        last, due = store.schedules(), schedules.next_times()
        return {
            "running": asdict(runner.now) if runner.now else None,
            "waiting": list(runner.waiting),
            "halted": halted(),
            "schedules": [
                {
                    "name": schedule.name,
                    "experiment": schedule.experiment,
                    "next": due.get(schedule.name),
                    "last": asdict(last[schedule.name]) if schedule.name in last else None,
                }
                for schedule in config.schedules
            ],
            "runs": [asdict(run) for run in store.runs(limit)],
        }

    @routes.get("/runs/{run_id}")
    async def one_run(run_id: str) -> dict[str, Any]:
        run = store.run(run_id)
        if run is None:
            raise HTTPException(404, "there is no such run")
        return asdict(run)

    @routes.get("/runs/{run_id}/report")
    async def report(run_id: str) -> FileResponse:
        run = store.run(run_id)  # the path comes from the store, never from the request
        if run is None or not (Path(run.run_dir) / "report.html").is_file():
            raise HTTPException(404, "there is no report of such a run")
        return FileResponse(Path(run.run_dir) / "report.html", media_type="text/html")

    @routes.post("/runs", status_code=202)
    async def start(wanted: Wanted) -> dict[str, Any]:
        try:
            schedule = find_schedule(config, wanted.schedule)
        except UsageError as error:
            raise HTTPException(404, error.message) from error
        _refuse_when_halted()
        if not runner.offer(schedule):
            raise HTTPException(409, f"{schedule.name} is waiting or running already, or the daemon is ending")
        return {"schedule": schedule.name, "waiting": list(runner.waiting)}

    return routes


def _refuse_when_halted() -> None:
    reason = halted()
    if reason is not None:
        raise HTTPException(409, f"{said(reason)}; `chaosd resume` lets runs begin again")
