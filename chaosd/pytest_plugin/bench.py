"""Runs experiments for tests, which are not asynchronous: a loop in a thread of its own, and one kept testbed."""

from __future__ import annotations

import asyncio
import os
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
from chaosd.kernel.errors import Exit
from chaosd.process.places import state_dir
from chaosd.testbed.testbed import Testbed

_ABORT_DEADLINE_S = 60.0
_THREAD_END_S = 5.0

T = TypeVar("T")


def testbed_name(environ: Mapping[str, str], pid: int) -> str:
    """One for each process: with xdist every worker has a testbed of its own."""
    return f"pytest-{environ.get('PYTEST_XDIST_WORKER', 'main')}-{pid}"


class Bench:
    """The kept testbed of one pytest process, and how experiments are run on it."""

    def __init__(self, config: pytest.Config) -> None:
        self._seed: int | None = config.getoption("--chaos-seed")
        self._stack = str(config.getoption("--chaos-stack"))
        self.profile = str(config.getoption("--chaos-profile"))
        given = config.getoption("--chaos-runs-dir") or os.environ.get("CHAOSD_RUNS")
        self._runs_dir = (config.rootpath / (given or "runs")).absolute()
        self._kept = Kept(testbed_name(os.environ, os.getpid()), self._stack, state_dir() / "pytest-guard.log")
        self._opened = False
        self._handle: RunHandle | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        # A daemon: a test process that ends in disorder must not hang on it; the guard ends the testbed then.
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaosd", daemon=True)
        self._thread.start()

    def testbed(self) -> Testbed:
        """The testbed, up and whole. Raises ChaosdError when it cannot be had."""
        return self._call(self._ready())

    def run(self, experiment: Path, on_event: Callable[[dict[str, Any]], None]) -> Ending:
        """Run an experiment to its end. An interruption aborts it, which heals first, and is passed on after that.

        Raises ChaosdError when there is no testbed for it, or chaosd is halted.
        """
        future = self._submit(self._run(experiment, on_event))
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._interrupt(future)
            raise

    def close(self) -> None:
        """End the testbed and the thread. Raises HealError when the testbed could not be ended."""
        try:
            if self._opened:
                self._call(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_THREAD_END_S)
            if not self._thread.is_alive():
                self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._submit(work).result()

    def _interrupt(self, future: Future[Ending]) -> None:
        if self._handle is not None:
            self._call(self._handle.abort("the test was interrupted"))
            with suppress(TimeoutError):
                future.result(_ABORT_DEADLINE_S)
        future.cancel()

    async def _ready(self) -> Testbed:
        await self._open()
        return await self._kept.ready()

    async def _open(self) -> None:
        if not self._opened:
            await self._kept.open()
            self._opened = True
            self._keeping = asyncio.create_task(self._kept.keep(), name="guard")

    async def _run(self, experiment: Path, on_event: Callable[[dict[str, Any]], None]) -> Ending:
        refuse_when_halted()
        await self._open()
        await self._kept.prepare()
        request = RunRequest(
            experiment=str(experiment),
            seed=self._seed,
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

    async def _close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        await self._kept.close()
