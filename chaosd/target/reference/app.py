"""Puts the pipeline together, and ends it in an orderly way on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from chaosd.target.reference.dedup import Dedup
from chaosd.target.reference.dlq import DeadLetters
from chaosd.target.reference.metrics import PipelineMetricsCollector
from chaosd.target.reference.noise import Noise, muffle_clients, open_log
from chaosd.target.reference.outbox import Outbox
from chaosd.target.reference.pipeline import Parts, Pipeline
from chaosd.target.reference.retry import Backoff, Retry
from chaosd.target.reference.settings import Settings, SettingsError
from chaosd.target.reference.source import Source
from chaosd.target.reference.state import RiskStateManager
from chaosd.target.reference.store import PostgresStore, TickStore

_GRACE_S = 2.0  # for the batch under way, when asked to end


@dataclass(frozen=True, slots=True)
class Build:
    """What the pipeline is built of; a mutant replaces one of these."""

    pipeline: type[Pipeline] = Pipeline
    source: type[Source] = Source
    dedup: type[Dedup] = Dedup
    store: Callable[[str, Retry], TickStore] = PostgresStore
    outbox: type[Outbox] = Outbox
    dead_letters: type[DeadLetters] = DeadLetters
    retry: type[Retry] = Retry
    backoff: Backoff = field(default_factory=Backoff)


def assemble(settings: Settings, build: Build, noise: Noise) -> Pipeline:
    """A pipeline that is not connected yet. Must be called in a running event loop."""
    retry = build.retry(noise, build.backoff)
    return build.pipeline(
        Parts(
            source=build.source(settings, retry, noise),
            dedup=build.dedup(settings.redis_url, settings.group, retry),
            store=build.store(settings.database_url, retry),
            outbox=build.outbox(settings.kafka_bootstrap, retry),
            dead_letters=build.dead_letters(settings.dlq_topic),
            output_topic=settings.output_topic,
            state=RiskStateManager(),
            metrics=PipelineMetricsCollector(),
        )
    )


def main(build: Build | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code. 2 when the environment lacks something."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return asyncio.run(_run(settings, build or Build()))


async def _run(settings: Settings, build: Build) -> int:
    log = open_log()
    noise = Noise(log)
    muffle_clients(noise)
    pipeline = assemble(settings, build, noise)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(_work(pipeline, stop))
        asked = group.create_task(stop.wait())
        await asyncio.wait((work, asked), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await asyncio.wait((work,), timeout=_GRACE_S)
        # A statement in a dead network ends only with its connection, not by cancelling.
        pipeline.parts.store.abort()
        work.cancel()
        asked.cancel()
    await pipeline.parts.source.close()
    await pipeline.parts.outbox.close()
    await pipeline.parts.dedup.close()
    log.info("stopped", counts=pipeline.parts.metrics.counts())
    return 0


async def _work(pipeline: Pipeline, stop: asyncio.Event) -> None:
    await pipeline.open()
    sys.stdout.write(json.dumps({"event": "ready", "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await pipeline.run(stop)
