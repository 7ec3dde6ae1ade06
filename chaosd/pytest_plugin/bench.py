"""Runs experiments for tests, which are not asynchronous: a loop in a thread of its own, and one kept testbed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from chaosd.conductor.client import RunHandle, RunRequest, start
from chaosd.conductor.follow import Ending, follow
from chaosd.conductor.kept import Kept
from chaosd.healing.halt import refuse_when_halted
from chaosd.kernel.errors import ChaosdError, Exit, UsageError
from chaosd.process import patience
from chaosd.process.places import state_dir
from chaosd.pytest_plugin.judged import SharedRuns, locked, machine_lock
from chaosd.testbed.testbed import Testbed

_ABORT_DEADLINE_S = 60.0
_THREAD_END_S = 5.0
_LOOK_S = 0.2
_COPIED = ("report.html", "verdict.json")

T = TypeVar("T")


def testbed_name(environ: Mapping[str, str], pid: int) -> str:
    """One for each process: with xdist every worker has a testbed of its own."""
    return f"pytest-{environ.get('PYTEST_XDIST_WORKER', 'main')}-{pid}"


class Bench:
    """The kept testbed of one pytest process, and how experiments are run on it."""

    def __init__(self, config: pytest.Config) -> None:
        self.seed: int | None = config.getoption("--chaos-seed")
        self._stack = str(config.getoption("--chaos-stack"))
        self.profile = str(config.getoption("--chaos-profile"))
        self.scale = float(config.getoption("--chaos-timeout-scale"))
        if self.scale != 1.0:
            patience.set_for_children(self.scale)
        here = config.invocation_params.dir
        given = config.getoption("--chaos-runs-dir") or os.environ.get("CHAOSD_RUNS")
        self._runs_dir = (here / given if given else config.rootpath / "runs").absolute()
        reports = config.getoption("--chaos-report-dir")
        self._reports_dir = (here / reports).absolute() if reports else None
        self._shared = _shared(config)
        self._kept = Kept(testbed_name(os.environ, os.getpid()), self._stack, state_dir() / "pytest-guard.log")
        self._opened = False
        self._handle: RunHandle | None = None
        self._controller_pid = os.getppid() if hasattr(config, "workerinput") else None
        self._keeping: list[asyncio.Task[None]] = []
        self._one_at_a_time = asyncio.Lock()
        self.faults_in_force = 0
        self._loop = asyncio.new_event_loop()
        # A daemon: a test process that ends in disorder must not hang on it; the guard ends the testbed then.
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaosd", daemon=True)
        self._thread.start()

    def testbed(self) -> Testbed:
        """The testbed, up and whole. Raises ChaosdError when it cannot be had."""
        return self.call(self.ready())

    def run(
        self, experiment: str, on_event: Callable[[dict[str, Any]], None], *, once: str = "", seed: int | None = None
    ) -> Ending:
        """Run an experiment to its end. An interruption aborts it, which heals first, and is passed on after that.

        With `once` the run is one for all workers that name the same. What kept it from being run is in the ending.
        """
        future = self.submit(self._once(experiment, on_event, once, self.seed if seed is None else seed))
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._interrupt(future)
            raise

    def doubt(self) -> None:
        """Something could not be healed: the next use gets a new testbed."""
        self._kept.doubt()

    def close(self) -> None:
        """End the testbed and the thread. Raises HealError when the testbed could not be ended."""
        try:
            if self._opened:
                self.call(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_THREAD_END_S)
            if not self._thread.is_alive():
                self._loop.close()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start asynchronous work on the bench's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do asynchronous work on the bench's loop, and wait for it."""
        return self.submit(work).result()

    def _interrupt(self, future: Future[Ending]) -> None:
        if self._handle is not None:
            self.call(self._handle.abort("the test was interrupted"))
            with suppress(TimeoutError):
                future.result(_ABORT_DEADLINE_S * self.scale)
        future.cancel()

    async def ready(self) -> Testbed:
        """The testbed, on the bench's loop. With a fault in force it is taken as it is: it need not be whole."""
        async with self._one_at_a_time:
            await self._open()
            if self.faults_in_force:
                return await Testbed.open(self._kept.directory)
            return await self._kept.ready()

    async def _open(self) -> None:
        if not self._opened:
            await self._kept.open()
            self._opened = True
            self._keeping.append(asyncio.create_task(self._kept.keep(), name="guard"))
            if self._controller_pid is not None:
                alone = interrupt_when_alone(self._controller_pid)
                self._keeping.append(asyncio.create_task(alone, name="controller"))

    async def _once(
        self, experiment: str, on_event: Callable[[dict[str, Any]], None], once: str, seed: int | None
    ) -> Ending:
        if not once or self._shared is None:
            return await self._run(experiment, on_event, seed)
        async with self._shared.turn(once) as known:
            if known is not None:
                on_event({"event": "note", "text": "run by another worker of this session"})
                return known
            ending = await self._run(experiment, on_event, seed)
            self._shared.keep(once, ending)
            return ending

    async def _run(self, experiment: str, on_event: Callable[[dict[str, Any]], None], seed: int | None) -> Ending:
        try:
            refuse_when_halted()
            if self.faults_in_force:
                raise UsageError(
                    "a fault of this test is in force, and a run on the same testbed would be judged by it",
                    remedy="end the `with chaos_fault…` block first, or write the fault into the experiment's timeline",
                )
            # Within the turn the conductor starts the testbed, where there is none: that would disturb others' runs.
            async with locked(
                machine_lock(),
                lambda: on_event({"event": "note", "text": "waiting for another judged run on this machine"}),
            ):
                async with self._one_at_a_time:
                    await self._open()
                    await self._kept.prepare()
                return self._report(await self._conduct(experiment, on_event, seed))
        except ChaosdError as error:
            return Ending("", None, "", (), error.exit_code, _said(error), error.remedy)

    async def _conduct(self, experiment: str, on_event: Callable[[dict[str, Any]], None], seed: int | None) -> Ending:
        request = RunRequest(
            experiment=experiment,
            seed=seed,
            profile=self.profile,
            runs_dir=str(self._runs_dir),
            stack=self._stack,
            testbed=self._kept.name,
            keep=True,
            owner_pid=os.getpid(),
        )
        self._handle = await start(request, self._runs_dir / "conductor.log")
        try:
            ending = await follow(self._handle, on_event)
        finally:
            handle, self._handle = self._handle, None
            await handle.close()
        if ending.exit is Exit.UNHEALED or not ending.verdict:
            self._kept.doubt()
        return ending

    def _report(self, ending: Ending) -> Ending:
        """Leave the report where CI takes it from: a folder for each run."""
        if self._reports_dir is None or ending.run_dir is None:
            return ending
        place = self._reports_dir / ending.run_dir.name
        try:
            place.mkdir(parents=True, exist_ok=True)
            for name in _COPIED:
                if (ending.run_dir / name).is_file():
                    shutil.copyfile(ending.run_dir / name, place / name)
            _write_texts(ending.run_dir, place)
        except OSError as error:
            raise UsageError(
                f"the report cannot be written to {place}: {error.strerror}", remedy="another --chaos-report-dir"
            ) from error
        return ending

    async def _close(self) -> None:
        for task in self._keeping:
            task.cancel()
        await asyncio.wait(self._keeping)
        await self._kept.close()


async def interrupt_when_alone(controller_pid: int) -> None:
    """In a worker of xdist: interrupt its test when the controller has died, so that everything is healed now.

    The worker's own channel notices the death too, and lets the test go on for five seconds more.
    """
    while os.getppid() == controller_pid:
        await asyncio.sleep(_LOOK_S)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _said(error: ChaosdError) -> str:
    return "\n".join(filter(None, (error.message, error.detail)))


def _write_texts(run_dir: Path, place: Path) -> None:
    from chaosd.report import model
    from chaosd.report.formats import FORMATS
    from chaosd.report.judge import VERDICT, stored_picture

    verdict = run_dir / VERDICT
    if not verdict.is_file():
        return
    report = model.decode(verdict.read_bytes(), str(verdict))
    for name, file in (("markdown", "report.md"), ("junit", "junit.xml")):
        (place / file).write_text(FORMATS[name].render(report, stored_picture(run_dir)), encoding="utf-8")


def _shared(config: pytest.Config) -> SharedRuns | None:
    """Only workers of xdist have somebody to share with: the folder above their own temporary one."""
    factory = getattr(config, "_tmp_path_factory", None)
    if not hasattr(config, "workerinput") or factory is None:
        return None
    return SharedRuns(factory.getbasetemp().parent)
