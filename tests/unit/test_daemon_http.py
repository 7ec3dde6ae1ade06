"""The daemon's HTTP on a real socket of this machine: who may ask, and what is answered."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaosd.daemon.config import Config, Schedule
from chaosd.daemon.http import healthz, metrics, runs, server
from chaosd.daemon.metrics import Metrics
from chaosd.daemon.schedules import Schedules
from chaosd.daemon.store import Result, Store
from chaosd.healing import halt
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import StackError

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NIGHTLY = Schedule("nightly", "redis-latency", 600 * SECOND, "", None)


@dataclass
class StubRunner:
    """Stands in for the runner: takes the first offer, runs nothing."""

    unhealed: bool = False
    now = None
    waiting: tuple[str, ...] = ()

    def offer(self, schedule: Schedule) -> bool:
        taken = not self.waiting
        self.waiting = (schedule.name,)
        return taken


class Site:
    def __init__(self, folder: Path, token: str) -> None:
        self.runner = StubRunner()
        self.store = Store(folder / "daemon.sqlite")
        self.folder = folder
        config = Config("127.0.0.1", 0, token, "t", "embedded", "quick", folder, 50, (NIGHTLY,))
        schedules = Schedules([NIGHTLY], self.runner.offer, SystemClock())
        routers = [
            healthz.router(self.runner),
            metrics.router(Metrics()),
            runs.router(config, self.store, self.runner, schedules),
        ]
        self.listener = server.listen("127.0.0.1", 0)
        self.web = server.server(server.application(routers, token))

    def _ask(self, method, path, headers, body):
        connection = http.client.HTTPConnection(*self.listener.getsockname(), timeout=5)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()

    async def ask(self, path, headers=None, method="GET", body=None):
        return await asyncio.to_thread(self._ask, method, path, headers or {}, body)


@pytest.fixture
async def site(tmp_path):
    sites = []

    async def start(token=""):
        made = Site(tmp_path, token)
        sites.append((made, asyncio.create_task(made.web.serve([made.listener]))))
        return made

    yield start
    for made, task in sites:
        made.web.should_exit = True
        await task
        made.listener.close()
        made.store.close()


async def test_without_the_token_nothing_is_told_not_even_what_there_is(site):
    made = await site(TOKEN)
    for path in ("/runs", "/metrics", "/runs/x", "/runs/x/report", "/nothing", "/openapi.json", "/"):
        answer = await made.ask(path)
        assert answer[0] == 401, path
        assert answer[2]["www-authenticate"] == "Bearer"


async def test_a_header_that_is_not_the_token_is_refused(site):
    made = await site(TOKEN)
    nearly = (TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xe4")
    for header in ("", *nearly):
        assert (await made.ask("/runs", {"Authorization": header}))[0] == 401, header


async def test_with_the_token_runs_are_told(site):
    made = await site(TOKEN)
    for scheme in ("Bearer", "bearer"):
        status, body, _ = await made.ask("/runs", {"Authorization": f"{scheme} {TOKEN}"})
        assert status == 200
        assert json.loads(body)["runs"] == []


async def test_starting_a_run_needs_the_token_too(site):
    made = await site(TOKEN)
    body = json.dumps({"schedule": "nightly"})
    headers = {"Content-Type": "application/json"}
    assert (await made.ask("/runs", headers, "POST", body))[0] == 401
    assert made.runner.waiting == ()
    assert (await made.ask("/runs", headers | BEARER, "POST", body))[0] == 202
    assert made.runner.waiting == ("nightly",)
    assert (await made.ask("/runs", headers | BEARER, "POST", body))[0] == 409


async def test_while_chaosd_is_halted_nothing_can_be_started_and_it_is_told_why(site, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path / "state"))
    made = await site()
    halt.halt("maintenance")
    body, headers = json.dumps({"schedule": "nightly"}), {"Content-Type": "application/json"}
    status, told, _ = await made.ask("/runs", headers, "POST", body)
    assert status == 409
    assert "maintenance" in told
    assert json.loads((await made.ask("/runs"))[1])["halted"] == "maintenance"
    assert made.runner.waiting == ()
    halt.resume()
    assert (await made.ask("/runs", headers, "POST", body))[0] == 202


async def test_only_configured_schedules_can_be_started(site):
    made = await site()
    headers = {"Content-Type": "application/json"}
    assert (await made.ask("/runs", headers, "POST", json.dumps({"schedule": "/etc/x.yaml"})))[0] == 404
    assert (await made.ask("/runs", headers, "POST", json.dumps({"experiment": "control"})))[0] == 422
    assert (await made.ask("/runs", {"Content-Type": "text/plain"}, "POST", json.dumps({"schedule": "nightly"})))[
        0
    ] == 422
    assert made.runner.waiting == ()


async def test_health_is_open_and_tells_when_something_is_not_healed(site):
    made = await site(TOKEN)
    assert (await made.ask("/healthz"))[:2] == (200, '{"status":"ok"}')
    made.runner.unhealed = True
    assert (await made.ask("/healthz"))[:2] == (503, '{"status":"unhealed"}')


async def test_without_a_token_only_names_of_this_machine_are_served(site):
    made = await site()
    for host, status in (("127.0.0.1:8765", 200), ("localhost", 200), ("[::1]:1", 200), ("evil.test", 403)):
        assert (await made.ask("/runs", {"Host": host}))[0] == status, host


async def test_metrics_are_in_the_format_of_prometheus(site):
    status, body, headers = await (await site()).ask("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert 'chaosd_runs_total{verdict="PASS"} 0.0' in body


async def test_a_run_is_told_with_its_verdict_and_its_report(site, tmp_path):
    made = await site()
    (tmp_path / "report.html").write_text("<p>all well</p>", encoding="utf-8")
    number = made.store.begin("nightly", "redis-latency", 1)
    made.store.name(number, "run-1", str(tmp_path))
    made.store.end(number, Result(2, "PASS", 0))
    assert json.loads((await made.ask("/runs/run-1"))[1])["verdict"] == "PASS"
    assert (await made.ask("/runs/run-1/report"))[:2] == (200, "<p>all well</p>")
    assert (await made.ask("/runs/run-2"))[0] == (await made.ask("/runs/run-2/report"))[0] == 404
    listed = json.loads((await made.ask("/runs?limit=1"))[1])
    assert listed["runs"][0]["run_id"] == "run-1"
    assert listed["schedules"][0]["last"]["verdict"] == "PASS"
    assert (await made.ask("/runs?limit=0"))[0] == 422


def test_a_port_that_is_taken_is_told_in_a_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StackError, match="cannot listen on"):
            server.listen(*taken.getsockname())
