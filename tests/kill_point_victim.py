"""A conductor without traffic, to be killed: its watchdog, its injections and its facts are the real ones.

    python kill_point_victim.py '{"testbed": DIR, "run_dir": DIR, "run_id": ID, "teardown": false,
                                  "fault": NAME, "on": PART, "params": {…}, "for_ms": 400, "starts_in_ms": 100}'

It breaks one thing, heals it and ends, like a conductor does; whatever it left is its watchdog's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from chaosd.conductor.context import Context
from chaosd.conductor.guards import Watchdog
from chaosd.conductor.injections import Injections
from chaosd.conductor.instruments import Instruments
from chaosd.experiment.spec import Experiment
from chaosd.experiment.timeline import Step
from chaosd.faults.table import FAULTS
from chaosd.healing.leases import Leases
from chaosd.journal.write import Facts
from chaosd.kernel.clock import MS, SECOND, SystemClock
from chaosd.testbed.testbed import Testbed

# All that injections ask of an experiment.
BRIEF = SimpleNamespace(phases=SimpleNamespace(hold_ns=SECOND))


class Unmeasured:
    """Stands in for the instruments: nothing is measured here."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given: None

    async def topic_deleted(self, topic: str, injection: str) -> None:
        """Nobody reads it."""


async def main() -> None:
    order = json.loads(sys.argv[1])
    run_dir, clock = Path(order["run_dir"]), SystemClock()
    facts = Facts(run_dir, "conductor", clock)
    said = {key: order[key] for key in ("testbed", "run_dir", "run_id", "teardown")}
    watchdog = Watchdog(said, facts, run_dir / "watchdog.log")
    await watchdog.arm()
    bed = await Testbed.open(Path(order["testbed"]))
    context = Context(
        run_id=order["run_id"], run_tag=0, seed=7, run_dir=run_dir, experiment=cast("Experiment", BRIEF), testbed=bed,
        facts=facts, leases=Leases(), clock=clock, emit=lambda event: None, base_wall_ns=0,
    )  # fmt: skip
    fault = FAULTS[order["fault"]]
    step = Step(
        id=f"1-{fault.name}-{order['on']}",
        at_ns=0,
        for_ns=order["for_ms"] * MS,
        fault=fault.name,
        on=order["on"],
        needs=fault.needs,
        params=fault.params.model_validate(order["params"]),
    )
    injections = Injections(context, cast("Instruments", Unmeasured()))
    # An injection is prepared a second before its time.
    injections.plan((step,), clock.now_ns() + SECOND + order["starts_in_ms"] * MS)
    async with asyncio.TaskGroup() as background:
        keeping = background.create_task(watchdog.keep())
        try:
            await injections.carry_out()
        finally:
            await injections.heal_all()
            await injections.clear_away()
            keeping.cancel()
    facts.append("run_ended", durable=True, reason="complete")
    facts.close()
    if context.leases.of_run(order["run_id"]):
        await watchdog.hand_over()
    else:
        await watchdog.disarm()


asyncio.run(main())
