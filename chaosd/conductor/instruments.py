"""The generator, the tap, the canaries and the samplers of one run: started, followed, stopped together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from chaosd.conductor.context import Context
from chaosd.conductor.guards import Stop
from chaosd.journal.columns import CANARIES, EXPOSURE, GAUGES, RESOURCES
from chaosd.journal.stream import Columns
from chaosd.kernel import names
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof
from chaosd.process.control import Child
from chaosd.process.spawn import tail
from chaosd.testbed.canary import Asked, Canaries, asked_by
from chaosd.testbed.gauges import Gauges, Meters
from chaosd.testbed.testbed import TARGET
from chaosd.testbed.usage import Usage

_READY_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 10.0
_LETS_GO_S = 5.0
_SAMPLE_S = 0.5
# A batch costs more than its rows. What a killed conductor had not written yet was of a run that proves nothing anyway.
FLUSH_S = 1.0


class Instrument:
    """A measuring process (generator or tap) and the last thing it said about itself."""

    def __init__(self, name: str, context: Context, stop: Stop) -> None:
        self.name = name
        self.last: dict[str, Any] = {}
        self._context = context
        self._stop = stop
        self._child: Child | None = None
        self._said: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.alive = False
        self._ending = False

    async def start(self, config: dict[str, Any]) -> None:
        """Start the process with its configuration in the run directory; does not wait until it is ready."""
        path = self._context.run_dir / "logs" / f"{self.name}.json"
        path.write_text(json.dumps(config, indent=1), encoding="utf-8")
        self._child = await Child.start(f"chaosd.traffic.{self.name}", [str(path)], stderr_log=path.with_suffix(".log"))
        self.alive = True

    async def send(self, command: dict[str, Any]) -> None:
        """Command it; a dead instrument is noticed by follow(), not here."""
        if self._child is not None and self.alive:
            await self._child.send(command)

    def expect(self, event: str) -> asyncio.Future[dict[str, Any]]:
        """A future of the next event of this name. Ask before the command that leads to it."""
        if event not in self._said or self._said[event].done():
            self._said[event] = asyncio.get_running_loop().create_future()
        return self._said[event]

    def stopping(self) -> asyncio.Future[dict[str, Any]]:
        """Its end is asked for from here on; a future of its last word."""
        self._ending = True
        return self.expect("stopped")

    async def wait_for(self, said: asyncio.Future[dict[str, Any]], deadline_s: float) -> dict[str, Any] | None:
        """The event, or None when the instrument ended or the deadline passed without it."""
        await asyncio.wait({said}, timeout=deadline_s)
        return said.result() if said.done() and not said.cancelled() else None

    async def follow(self) -> None:
        """Read its events until it ends. A death that nobody asked for ends the run."""
        if self._child is None:
            raise RuntimeError("follow() before start()")
        async for event in self._child.events():
            name = event["event"]
            if name == "progress":
                self.last = event
            if name == "poisoned":
                self._context.facts.append("generator_poisoned", durable=True, errors=event.get("errors"))
                self._context.note("the generator's producer is poisoned: this run proves nothing about the target")
            if name in self._said and not self._said[name].done():
                self._said[name].set_result(event)
        code = await self._child.wait()
        self.alive = False
        for said in self._said.values():
            said.cancel()
        if not self._ending:
            self._context.facts.append("process_died", durable=True, process=self.name, code=code)
            self._stop.set(f"the {self.name} died (exit code {code})")

    async def close(self) -> None:
        """Let it end, by force after a while."""
        self._ending = True
        if self._child is not None:
            await self._child.close(_STOP_DEADLINE_S)

    async def ready(self, said: asyncio.Future[dict[str, Any]]) -> None:
        """Wait for `ready`; StackError with its log's end when it does not come."""
        if await self.wait_for(said, _READY_DEADLINE_S) is None:
            log = self._context.run_dir / "logs" / f"{self.name}.log"
            raise StackError(f"the {self.name} did not become ready", detail=tail(log), remedy=f"see {log}")


class Recorder:
    """The conductor's own columns: canaries, exposure, resources, gauges."""

    def __init__(self, run_dir: Path) -> None:
        self.canaries = Columns(run_dir, "conductor", CANARIES)
        self.exposure = Columns(run_dir, "conductor", EXPOSURE)
        self.resources = Columns(run_dir, "conductor", RESOURCES)
        self.gauges = Columns(run_dir, "conductor", GAUGES)
        self._all = (self.canaries, self.exposure, self.resources, self.gauges)

    def flush(self) -> None:
        """Hand what was recorded to the kernel."""
        for columns in self._all:
            columns.flush()

    def close(self) -> None:
        """End the streams."""
        for columns in self._all:
            columns.close()


class Instruments:
    """All of them. `edge()` makes the canaries denser around a fault's edge and samples the target's sockets."""

    def __init__(self, context: Context, stop: Stop) -> None:
        self.generator = Instrument("generator", context, stop)
        self.tap = Instrument("tap", context, stop)
        self._context = context
        self._recorder = Recorder(context.run_dir)
        self._canaries = Canaries(context.testbed, context.clock, self._recorder.canaries.append)
        self._meters = Meters(context.testbed, context.clock, self._recorder.gauges.append)
        self._usage = Usage(context.testbed, context.clock)
        self._sample_now = asyncio.Event()
        self._targets = [n for n, name in enumerate(context.testbed.processes) if names.kind(name) == TARGET]
        self.target_rss_bytes = 0  # of the last sample, all replicas together

    async def start(self, tap: dict[str, Any], generator: dict[str, Any], group: asyncio.TaskGroup) -> None:
        """Start both processes side by side and wait until both are ready."""
        waiting = []
        for instrument, config in ((self.tap, tap), (self.generator, generator)):
            waiting.append((instrument, instrument.expect("ready")))
            await instrument.start(config)
            group.create_task(instrument.follow(), name=instrument.name)
        for instrument, said in waiting:
            await instrument.ready(said)

    async def send(self, command: dict[str, object]) -> None:
        """Tell both: the tap must know a segment before its first result can be seen."""
        await self.tap.send(command)
        await self.generator.send(command)

    async def topic_deleted(self, topic: str, injection: str) -> None:
        """Have the tap let go of a topic before another one of its name is made. Bounded: the undo does not wait for
        a tap that stands still; what that is worth to the judge, the tap states itself.
        """
        said = self.tap.expect("topic_let_go")
        await self.tap.send({"cmd": "topic_deleted", "topic": topic, "injection": injection})
        await self.tap.wait_for(said, _LETS_GO_S)

    def edge(self) -> None:
        """A fault begins or ends about now."""
        self._canaries.edge()
        self._meters.edge()
        self._sample_now.set()

    def watch(self, gauges: Iterable[Gauges]) -> tuple[str, ...]:
        """Have the servers tell these from now on; gives the titles of all gauges, which rows index."""
        return self._meters.watch(gauges)

    def few(self, proofs: Iterable[Proof]) -> None:
        """Make a few of the probes that only these proofs need: to compare with later, or after the heal."""
        for asked in _asked(proofs):
            self._canaries.few(asked)

    def begin(self, proofs: Iterable[Proof]) -> None:
        """Make the probes that only these proofs need, until `end`."""
        for asked in _asked(proofs):
            self._canaries.begin(asked)

    def end(self, proofs: Iterable[Proof]) -> None:
        """Make them no more."""
        for asked in _asked(proofs):
            self._canaries.end(asked)

    async def close(self) -> None:
        """End both processes; what they recorded is complete then."""
        await self.generator.close()
        await self.tap.close()

    @asynccontextmanager
    async def watching(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        """Run canaries and samplers inside the block; what they recorded is complete when it ends."""
        tasks = [
            group.create_task(self._canaries.run(), name="canaries"),
            group.create_task(self._meters.run(), name="gauges"),
            group.create_task(self._sample(), name="samples"),
            group.create_task(self._flush(), name="flush"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._recorder.close()

    async def _sample(self) -> None:
        while True:
            exposure, resources = await asyncio.to_thread(self._usage.sample)
            _append(self._recorder.exposure.append, exposure)
            _append(self._recorder.resources.append, resources)
            self.target_rss_bytes = int(resources["rss_bytes"][np.isin(resources["process"], self._targets)].sum())
            self._sample_now.clear()
            try:
                async with asyncio.timeout(_SAMPLE_S):
                    await self._sample_now.wait()
            except TimeoutError:
                continue

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._recorder.flush()


def _asked(proofs: Iterable[Proof]) -> set[Asked]:
    return {asked for proof in proofs for asked in asked_by(proof)}


def _append(append: Callable[[np.ndarray], None], rows: np.ndarray) -> None:
    if len(rows):
        append(rows)
