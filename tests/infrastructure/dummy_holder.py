"""A stand-in for a conductor: arms a real watchdog, takes leases, breaks things, and then waits to be killed.

    python dummy_holder.py '{"testbed": DIR, "run_dir": DIR, "teardown": false, "faults": [[NAME, ON, PARAMS], …]}'

Says `{"watchdog": PID}` when everything is broken. With `"guard": false` there is no watchdog. The word `disarm` on its
input disarms.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from chaosd.faults.table import FAULTS
from chaosd.healing.lease import new_lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.process.control import Child
from chaosd.testbed.testbed import Testbed

RUN_ID = "dummy-run"


async def arm(order: dict) -> Child | None:
    if not order.get("guard", True):
        return None
    child = await Child.start("chaosd.healing.watchdog", stderr_log=Path(order["run_dir"]) / "watchdog.log")
    said = {key: order[key] for key in ("testbed", "run_dir", "teardown")}
    await child.send({"cmd": "arm", "run_id": RUN_ID, **said})
    async for event in child.events():
        if event["event"] == "armed":
            break
    return child


async def main() -> None:
    order = json.loads(sys.argv[1])
    child = await arm(order)
    bed = await Testbed.open(Path(order["testbed"]))
    for number, (name, on, words) in enumerate(order["faults"]):
        fault = FAULTS[name]
        params = fault.params.model_validate(words)
        memo = await fault.prepare(bed, on, params)
        tag = f"chaosd-{RUN_ID}-{os.getpid()}-{number}"
        lease = new_lease(
            run_id=RUN_ID, injection=f"{name}-{on}", fault=name, on=on, params=words, memo=memo, tag=tag,
            testbed=order["testbed"], lasts_ns=round(order.get("lasts_s", 60) * SECOND), clock=SystemClock(),
        )  # fmt: skip
        Leases().open(lease)
        await fault.inject(bed, on, params, memo, tag)
    print(json.dumps({"watchdog": child.pid if child else 0}), flush=True)
    if await asyncio.to_thread(sys.stdin.readline) and child:
        await child.send({"cmd": "disarm"})
        print(json.dumps({"code": await child.wait()}), flush=True)
    await asyncio.sleep(60)


asyncio.run(main())
