"""Decides when an experiment starts, and nothing else: APScheduler offers what is due to the runner's queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from chaosd.daemon.config import Schedule
from chaosd.kernel.clock import SECOND, Clock

# The default grace of one second silently skips a job after a stall of 1.4 s.
_DEFAULTS = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}


class Schedules:
    """The schedules of a running loop. One with `every` is due at once, and then again in its rhythm."""

    def __init__(self, schedules: Sequence[Schedule], offer: Callable[[Schedule], bool], clock: Clock) -> None:
        self._offer = offer
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=_DEFAULTS)
        now = datetime.fromtimestamp(clock.wall_ns() / SECOND, UTC)
        for schedule in schedules:
            extra = {"next_run_time": now} if schedule.every_ns else {}
            self._scheduler.add_job(self._due, _trigger(schedule), args=(schedule,), id=schedule.name, **extra)

    def start(self) -> None:
        """Begin; needs a running loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """End; nothing is due any more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def next_times(self) -> dict[str, str]:
        """When each schedule is due next, as ISO 8601 in UTC; one that never is again is left out."""
        due = {job.id: job.next_run_time for job in self._scheduler.get_jobs()}
        return {name: time.isoformat() for name, time in due.items() if time is not None}

    async def _due(self, schedule: Schedule) -> None:
        # A coroutine, so that it runs in the loop: APScheduler calls a plain function in a thread.
        self._offer(schedule)


def _trigger(schedule: Schedule) -> Any:
    if schedule.every_ns is not None:
        return IntervalTrigger(seconds=schedule.every_ns / SECOND, timezone=UTC)
    return CronTrigger.from_crontab(schedule.cron, timezone=UTC)
