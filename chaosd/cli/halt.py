"""`chaosd halt`: the kill switch. Runs under way heal and end, and none begins until `chaosd resume`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from chaosd.kernel.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaosd.healing.leases import Leases

# A part that was killed is started again: Kafka takes the longest, and its undo has a deadline of 60 s.
_HEALED_S = 70.0
# A conductor looks every 100 ms; an injection that it had begun by then is undone once it has ended.
_SETTLED_S = 0.5
# What nobody answers for any more is undone from here, after its watchdog had its time.
_ABANDONED_S = 5.0
_LOOK_S = 0.1


def halt(
    reason: Annotated[list[str] | None, typer.Argument(metavar="[REASON]", help="why, for whoever meets it")] = None,
) -> Exit:
    """Halt all of chaosd: runs under way heal and exit 5, new ones are refused with 5 until `chaosd resume`.

    It survives restarts. Returns once nothing is broken any more: exit 0, or 6 with what could not be healed.
    """
    from chaosd.healing import halt as switch
    from chaosd.healing.leases import Leases

    switch.halt(" ".join(reason or ()))
    print(switch.said(" ".join(reason or ())), flush=True)
    leases = Leases()
    asyncio.run(_healed(leases))
    left = list(_left(leases))
    for line in left:
        print(f"NOT HEALED: {line}", file=sys.stderr)
    if left:
        print("  remedy: `chaosd heal --force` undoes it past the run that holds it", file=sys.stderr)
        return Exit.UNHEALED
    print("nothing is broken; `chaosd resume` lets runs begin again")
    return Exit.PASS


async def _healed(leases: Leases) -> None:
    from chaosd.healing.recover import recover

    loop = asyncio.get_running_loop()
    began_s = loop.time()
    asked = False
    while (waited_s := loop.time() - began_s) < _SETTLED_S or (leases.all() and waited_s < _HEALED_S):
        if not asked and waited_s > _ABANDONED_S and any(not lease.held() for lease in leases.all()):
            asked = True
            await recover()
        await asyncio.sleep(_LOOK_S)


def _left(leases: Leases) -> Iterator[str]:
    for lease in leases.all():
        yield f"{lease.fault} on {lease.on} (run {lease.run_id})"
    for path in leases.unreadable():
        yield f"{path} is no lease that can be read"
