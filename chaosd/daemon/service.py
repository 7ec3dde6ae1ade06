"""The daemon's life: heal first, keep one testbed under a guard, run what is due, and end with everything healed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from chaosd.catalogue import catalogue
from chaosd.conductor import operator
from chaosd.conductor.kept import Kept
from chaosd.daemon.config import Config
from chaosd.daemon.http import healthz, metrics, runs, server
from chaosd.daemon.metrics import Metrics
from chaosd.daemon.runner import Runner
from chaosd.daemon.schedules import Schedules
from chaosd.daemon.store import FILE, Store
from chaosd.experiment.parse import load
from chaosd.healing.recover import recover
from chaosd.kernel.clock import Clock
from chaosd.kernel.errors import ChaosdError, Exit, HealError, UsageError, worst
from chaosd.process import log

Logger = structlog.typing.FilteringBoundLogger


class Stop:
    """Set by the first SIGTERM or SIGINT; a second one changes nothing, for healing is under way."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reason = ""

    def set(self, reason: str) -> None:
        """End the daemon."""
        self.reason = self.reason or reason
        self.event.set()


async def serve(config: Config, clock: Clock, *, once: bool = False) -> Exit:
    """Run until a signal, or with `once` until each schedule ran once.

    The exit code is 0 after a signal and the worst of the runs with `once`. Raises ChaosdError for what keeps it from
    starting, HealError when something stayed broken at the end.
    """
    logger = log.of("daemon")
    if once and not config.schedules:
        raise UsageError("there is no schedule to run once", remedy="write one into the configuration: docs/daemon.md")
    _check(config)
    stop, figures = Stop(), Metrics()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set, f"the daemon got {sig.name}")
    store = Store(config.runs_dir / FILE)
    try:
        await _heal_first(figures, logger)
        async with _keeping(config, stop, logger) as kept:
            # Only now: whoever holds the testbed is alive, and so are its runs.
            if died := store.abandon(clock.wall_ns()):
                logger.warning("an earlier daemon died", runs=died)
            runner = Runner(config, kept, store, figures, clock, logger)
            if once:
                return await _once(config, runner, stop)
            await _forever(config, runner, store, figures, clock, stop, logger)
    finally:
        store.close()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(sig)
    return Exit.PASS


def _check(config: Config) -> None:
    """Read every experiment now: a mistake in one is told at the start, not at three in the morning."""
    forms = catalogue().forms
    for schedule in config.schedules:
        load(schedule.experiment, forms, profile=config.profile, limits=operator.read().limits)


async def _heal_first(figures: Metrics, logger: Logger) -> None:
    for done in await recover():
        if done.ok:
            logger.info("healed what was left behind", what=done.what)
        else:
            figures.heal_failures.inc()
            logger.error("not healed", what=done.what, error=done.error)


@asynccontextmanager
async def _keeping(config: Config, stop: Stop, logger: Logger) -> AsyncIterator[Kept]:
    def unguarded(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            stop.set(f"the testbed has no guard any more: {task.exception()}")

    kept = Kept(config.testbed, config.stack, config.runs_dir / "guard.log")
    await kept.open()
    keeping = asyncio.create_task(kept.keep(), name="guard")
    keeping.add_done_callback(unguarded)
    try:
        yield kept
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await kept.close()
        logger.info("the testbed is gone", testbed=config.testbed)
    if not keeping.cancelled():
        keeping.result()


async def _once(config: Config, runner: Runner, stop: Stop) -> Exit:
    codes: list[Exit] = []

    async def all_of_them() -> None:
        for schedule in config.schedules:
            if stop.event.is_set():
                return
            code = await runner.run(schedule)
            codes.append(code)

    working = asyncio.create_task(all_of_them(), name="once")
    stopped = asyncio.create_task(stop.event.wait(), name="stop")
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await runner.stop(stop.reason)
            return Exit.ABORTED
        working.result()
    finally:
        stopped.cancel()
    return worst(codes)


async def _forever(
    config: Config, runner: Runner, store: Store, figures: Metrics, clock: Clock, stop: Stop, logger: Logger
) -> None:
    listener = server.listen(config.host, config.port)
    schedules = Schedules(config.schedules, runner.offer, clock)
    routers = [healthz.router(runner), metrics.router(figures), runs.router(config, store, runner, schedules)]
    web = server.server(server.application(routers, config.token))
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(web.serve([listener]), name="http")
            group.create_task(runner.work(), name="runner")
            schedules.start()
            host, port = listener.getsockname()[:2]
            logger.info("listening", host=host, port=port, token=bool(config.token))
            await stop.event.wait()
            logger.info("ending", reason=stop.reason)
            schedules.stop()
            await runner.stop(stop.reason)
            web.should_exit = True
            await serving
    except* ChaosdError as group_of_errors:
        raise _first(group_of_errors) from None
    finally:
        schedules.stop()
        with suppress(OSError):
            listener.close()
    if runner.unhealed:
        raise HealError("the last run was not healed; its testbed is ended", remedy="see its report")


def _first(group: BaseExceptionGroup[ChaosdError]) -> ChaosdError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ChaosdError):
        raise error
    return error
